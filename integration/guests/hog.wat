;; Takes memory, 1 MiB at a time and touching each page, until there is none; then says "refused" and leaves
;; with 3. Where memory is never refused it says "plenty" at 3 GiB.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "refused\0aplenty\0a")
  (func $say (param $text i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start")
    (local $before i32) (local $at i32) (local $end i32)
    (loop $next
      (local.set $before (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $before) (i32.const -1))
        (then
          (call $say (i32.const 64) (i32.const 8))
          (call $proc_exit (i32.const 3))))
      (local.set $at (i32.mul (local.get $before) (i32.const 65536)))
      (local.set $end (i32.add (local.get $at) (i32.const 1048576)))
      (loop $touch
        (i32.store8 (local.get $at) (i32.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $touch (i32.lt_u (local.get $at) (local.get $end))))
      (br_if $next (i32.lt_u (local.get $before) (i32.const 49152))))
    (call $say (i32.const 72) (i32.const 7))))
