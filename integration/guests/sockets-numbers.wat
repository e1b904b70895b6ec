;; Moves sockets to other numbers. To be run with its standard output and error apart: writes "moved" to the output.
;; Leaves with the number of the step that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $local (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: 127.0.0.1 (at 32) and a buffer of 16 bytes (at 48).
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\30\00\00\00\10\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  ;; Buffers: "moved" and a new line (at 72), 64 bytes (at 700).
  (data (i32.const 16) "\48\00\00\00\06\00\00\00" "\bc\02\00\00\40\00\00\00")
  (data (i32.const 72) "moved\n")
  ;; Results: type at 104, port at 108, length at 112, flags at 116, descriptor at 120.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $opened (result i32)
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 120)) (i32.const 0))
    (i32.load (i32.const 120)))

  ;; Sees that what is written to a number is received.
  (func $sends (param $number i32) (param $receiver i32)
    (call $is (call $write (local.get $number) (i32.const 16) (i32.const 1) (i32.const 112)) (i32.const 0))
    (call $is
      (call $recv (local.get $receiver) (i32.const 24) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 6)))

  (func (export "_start")
    (local $receiver i32) (local $one i32) (local $other i32)
    ;; 1 to 9: a socket that has a peer.
    (local.set $receiver (call $opened))
    (call $is (call $bind (local.get $receiver) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $local (local.get $receiver) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    (local.set $one (call $opened))
    (local.set $other (call $opened))
    (call $is (call $connect (local.get $one) (i32.const 0) (i32.load (i32.const 108))) (i32.const 0))
    (call $sends (local.get $one) (local.get $receiver))
    ;; 10 to 15: over another socket, and to where it is.
    (call $is (call $renumber (local.get $one) (local.get $other)) (i32.const 0))
    (call $is (call $close (local.get $one)) (i32.const 8))
    (call $sends (local.get $other) (local.get $receiver))
    (call $is (call $renumber (local.get $other) (local.get $other)) (i32.const 0))
    ;; 16 to 19: only to where a descriptor is, and from where one is.
    (call $is (call $renumber (local.get $other) (i32.const 500)) (i32.const 8))
    (call $is (call $renumber (local.get $other) (local.get $one)) (i32.const 8))
    (call $is (call $renumber (local.get $one) (local.get $other)) (i32.const 8))
    (call $is (call $renumber (i32.const 2) (local.get $other)) (i32.const 58)) ;; NOTSUP
    ;; 20 to 29: over the standard error and back, then over it to be closed.
    (call $is (call $renumber (local.get $other) (i32.const 2)) (i32.const 0))
    (call $sends (i32.const 2) (local.get $receiver))
    (local.set $one (call $opened))
    (call $is (call $renumber (i32.const 2) (local.get $one)) (i32.const 0))
    (call $is (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 112)) (i32.const 8))
    (call $sends (local.get $one) (local.get $receiver))
    ;; 30 to 33: over the standard input, which is gone when the socket is.
    (call $is (call $renumber (local.get $one) (i32.const 0)) (i32.const 0))
    (call $is (call $send (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 0))
    (call $is (call $close (i32.const 0)) (i32.const 0))
    (call $is (call $close (i32.const 0)) (i32.const 8))
    ;; 34 and on: the engine's own numbers are moved as ever.
    (call $is (call $renumber (i32.const 1) (i32.const 3)) (i32.const 0))
    (call $is (call $write (i32.const 3) (i32.const 16) (i32.const 1) (i32.const 112)) (i32.const 0))))
