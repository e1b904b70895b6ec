;; Imports the socket functions of preview 1 itself and none of WasmEdge's, as Go's programs do: has no sockets, and is
;; told so. Leaves with the number of the step that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func (export "_start")
    (call $is (call $accept (i32.const 0) (i32.const 0) (i32.const 120)) (i32.const 57)) ;; NOTSOCK
    (call $is (call $recv (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 112) (i32.const 116)) (i32.const 57))
    (call $is (call $send (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 112)) (i32.const 57))
    (call $is (call $shutdown (i32.const 9) (i32.const 1)) (i32.const 8)))) ;; BADF
