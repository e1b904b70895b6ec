;; Cannot be linked: imports functions that nothing provides, one of them of WasmEdge's socket extension.
(module
  (import "env" "launch_rocket" (func (param i32)))
  (import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32 i32) (result i32)))
  (func (export "_start")))
