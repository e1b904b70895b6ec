;; A component: a command of WASI 0.2 that calls itself without end, and at each step the host for the time.
(component
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "now" (func (result u64)))))
  (core func $now (canon lower (func $clock "now")))
  (core module $program
    (import "host" "now" (func $now (result i64)))
    (func $deep (param $depth i32) (result i32)
      (drop (call $now))
      (i32.add (i32.const 1) (call $deep (i32.add (local.get $depth) (i32.const 1)))))
    (func (export "run") (result i32) (call $deep (i32.const 0))))
  (core instance $instance (instantiate $program (with "host" (instance (export "now" (func $now))))))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run_interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run_interface)))
