;; A library: exports a function that takes parameters, `helper`, and nothing to run.
(module
  (func (export "helper") (param i32) (result i32) (local.get 0)))
