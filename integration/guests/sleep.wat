;; Says "sleeping" and waits as many seconds as its first argument says, for ever (a century) without one.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "sleeping\0a")
  (func (export "_start")
    (local $at i32) (local $digit i64) (local $seconds i64)
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 9))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $seconds (i64.const 3153600000))
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 1))
      (then
        (local.set $seconds (i64.const 0))
        (drop (call $args_get (i32.const 64) (i32.const 1024)))
        (local.set $at (i32.load (i32.const 68)))
        (block $done
          (loop $next
            (local.set $digit (i64.sub (i64.load8_u (local.get $at)) (i64.const 48)))
            (br_if $done (i64.gt_u (local.get $digit) (i64.const 9)))
            (local.set $seconds (i64.add (i64.mul (local.get $seconds) (i64.const 10)) (local.get $digit)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next)))))
    ;; A subscription at 128: a relative timeout of the monotonic clock, in nanoseconds.
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.mul (local.get $seconds) (i64.const 1000000000)))
    (call $proc_exit (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)))))
