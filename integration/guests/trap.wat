;; Traps, in the way that its first argument says: u (unreachable, the default), d (division by zero),
;; s (stack overflow), m (access beyond memory).
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $divide (param $by i32) (result i32)
    (i32.div_u (i32.const 1) (local.get $by)))
  (func $overflow (param $depth i32) (result i32)
    (i32.add (i32.const 1) (call $overflow (i32.add (local.get $depth) (i32.const 1)))))
  (func $beyond (result i32)
    (i32.load (i32.const 0x10000)))
  (func $unreachable
    (unreachable))
  (func (export "_start")
    (local $how i32)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 1))
      (then
        (drop (call $args_get (i32.const 64) (i32.const 1024)))
        (local.set $how (i32.load8_u (i32.load (i32.const 68))))))
    (if (i32.eq (local.get $how) (i32.const 100)) (then (drop (call $divide (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 115)) (then (drop (call $overflow (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 109)) (then (drop (call $beyond))))
    (call $unreachable)))
