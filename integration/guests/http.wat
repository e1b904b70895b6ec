;; A component that only looks like an HTTP handler: exports `wasi:http/incoming-handler` and no command.
(component
  (core module $program (func (export "handle")))
  (core instance $instance (instantiate $program))
  (func $handle (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
