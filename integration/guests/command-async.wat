;; A component: a command of WASI 0.3, whose `run` is asynchronous and succeeds at once.
(component
  (core func $return (canon task.return (result (result))))
  (core module $program
    (import "host" "return" (func $return (param i32)))
    ;; Gives its result (0: ok), then says that the task is done (0).
    (func (export "run") (result i32)
      (call $return (i32.const 0))
      (i32.const 0))
    (func (export "callback") (param i32 i32 i32) (result i32) (unreachable)))
  (core instance $instance (instantiate $program (with "host" (instance (export "return" (func $return))))))
  (func $run async (result (result))
    (canon lift (core func $instance "run") async (callback (core func $instance "callback"))))
  (instance $run_interface (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $run_interface)))
