;; Cannot be linked: imports a function that nothing provides, and one of WasmEdge's socket extension with a type that
;; is neither of its two versions'.
(module
  (import "env" "launch_rocket" (func (param i32)))
  (import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32) (result i32)))
  (func (export "_start")))
