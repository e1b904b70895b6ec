;; Prints "Hello from Wasm", then its arguments, environment and preopened directories, one a line.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $prestat_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 64) "Hello from Wasm\0aarg \00env \00dir \00\0a")

  ;; Writes `length` bytes at `from` to stdout.
  (func $write (param $from i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $from))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))

  (func $length (param $text i32) (result i32)
    (local $at i32)
    (local.set $at (local.get $text))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (i32.load8_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.sub (local.get $at) (local.get $text)))

  ;; Writes the label, the text of the length, and a newline.
  (func $line (param $label i32) (param $text i32) (param $length i32)
    (call $write (local.get $label) (call $length (local.get $label)))
    (call $write (local.get $text) (local.get $length))
    (call $write (i32.const 95) (i32.const 1)))

  ;; A line for each of `count` pointers at 1024.
  (func $lines (param $label i32) (param $count i32)
    (local $at i32)
    (local.set $at (i32.const 1024))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (call $line (local.get $label) (i32.load (local.get $at)) (call $length (i32.load (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next))))

  (func (export "_start")
    (local $fd i32)
    (call $write (i32.const 64) (i32.const 16))
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 1024) (i32.const 65536)))
    (call $lines (i32.const 80) (i32.load (i32.const 16)))
    (drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $environ_get (i32.const 1024) (i32.const 65536)))
    (call $lines (i32.const 85) (i32.load (i32.const 16)))
    (local.set $fd (i32.const 3))
    (block $done
      (loop $next
        (br_if $done (call $prestat_get (local.get $fd) (i32.const 32)))
        (drop (call $prestat_name (local.get $fd) (i32.const 1024) (i32.load (i32.const 36))))
        (call $line (i32.const 90) (i32.const 1024) (i32.load (i32.const 36)))
        (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
        (br $next)))))
