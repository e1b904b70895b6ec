;; Says that it is waiting, and waits for a connection that never comes.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; The address 127.0.0.1 (at 32); "waiting" and a new line (at 40).
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\28\00\00\00\08\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (data (i32.const 40) "waiting\n")
  (func (export "_start")
    (drop (call $open (i32.const 1) (i32.const 2) (i32.const 120)))
    (drop (call $bind (i32.load (i32.const 120)) (i32.const 0) (i32.const 0)))
    (drop (call $listen (i32.load (i32.const 120)) (i32.const 1)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 112)))
    (drop (call $accept (i32.load (i32.const 120)) (i32.const 124)))))
