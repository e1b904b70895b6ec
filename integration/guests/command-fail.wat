;; A component: a command whose `run` gives an error, which is exit code 1.
(component
  (core module $program (func (export "run") (result i32) (i32.const 1)))
  (core instance $instance (instantiate $program))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run_interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.3" (instance $run_interface)))
