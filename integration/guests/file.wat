;; Opens the file that its first argument names, below the last preopened directory (`/`). With a second
;; argument that text is written to the file, made new; without, the file is copied to stdout. Leaves with the
;; WASI error number of what failed (44: no such file, 63: not permitted, 69: read-only file system).
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)

  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $proc_exit (local.get $errno)))))

  (func $length (param $text i32) (result i32)
    (local $at i32)
    (local.set $at (local.get $text))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (i32.load8_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.sub (local.get $at) (local.get $text)))

  ;; The last preopened directory.
  (func $root (result i32)
    (local $fd i32)
    (local.set $fd (i32.const 2))
    (loop $next
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $next (i32.eqz (call $prestat_get (local.get $fd) (i32.const 32)))))
    (i32.sub (local.get $fd) (i32.const 1)))

  (func (export "_start")
    (local $path i32) (local $writing i32) (local $fd i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 64) (i32.const 1024)))
    ;; 28: invalid argument.
    (if (i32.lt_u (i32.load (i32.const 16)) (i32.const 2)) (then (call $proc_exit (i32.const 28))))
    (local.set $writing (i32.gt_u (i32.load (i32.const 16)) (i32.const 2)))
    (local.set $path (i32.load (i32.const 68)))
    ;; A path below a preopened directory has no leading slash.
    (if (i32.eq (i32.load8_u (local.get $path)) (i32.const 47))
      (then (local.set $path (i32.add (local.get $path) (i32.const 1)))))
    ;; Symbolic links are followed; flags: create and truncate (9); rights: read (2) or write (64).
    (call $check (call $path_open (call $root) (i32.const 1) (local.get $path) (call $length (local.get $path))
      (select (i32.const 9) (i32.const 0) (local.get $writing))
      (select (i64.const 64) (i64.const 2) (local.get $writing))
      (i64.const 0) (i32.const 0) (i32.const 24)))
    (local.set $fd (i32.load (i32.const 24)))
    (if (local.get $writing)
      (then
        (i32.store (i32.const 0) (i32.load (i32.const 72)))
        (i32.store (i32.const 4) (call $length (i32.load (i32.const 72))))
        (call $check (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
        (return)))
    (loop $next
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 65536))
      (call $check (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.eqz (i32.load (i32.const 8))) (then (return)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $next))))
