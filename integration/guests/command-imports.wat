;; A component that cannot be linked: a command with an import that nobody provides.
(component
  (import "example:rockets/launch@1.0.0" (instance (export "launch" (func))))
  (core module $program (func (export "run") (result i32) (i32.const 0)))
  (core instance $instance (instantiate $program))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run_interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.3" (instance $run_interface)))
