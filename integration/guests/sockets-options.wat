;; The fifteen options of WasmEdge's sockets: leaves with the number of the step that did not give what it must, 1 and
;; up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getsockopt" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_setsockopt" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; The address 127.0.0.1 (at 32). A buffer of 64 bytes (at 700). Results: descriptor at 120, size at 124, value at 128.
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\bc\02\00\00\40\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (global $step (mut i32) (i32.const 0))
  (global $socket (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $opened (param $kind i32) (result i32)
    (call $is (call $open (i32.const 1) (local.get $kind) (i32.const 120)) (i32.const 0))
    (i32.load (i32.const 120)))

  ;; The value of an option, which has the size that there is room for.
  (func $value (param $option i32) (param $size i32) (result i32)
    (memory.fill (i32.const 128) (i32.const 0xff) (i32.const 32))
    (i32.store (i32.const 124) (local.get $size))
    (call $is (call $get (global.get $socket) (i32.const 0) (local.get $option) (i32.const 128) (i32.const 124)) (i32.const 0))
    (call $is (i32.load (i32.const 124)) (local.get $size))
    (i32.load (i32.const 128)))

  (func $set_number (param $option i32) (param $number i32) (result i32)
    (i32.store (i32.const 128) (local.get $number))
    (call $set (global.get $socket) (i32.const 0) (local.get $option) (i32.const 128) (i32.const 4)))

  ;; Sees that an option that is on or off can be put on: six steps.
  (func $switch (param $option i32)
    (call $is (call $value (local.get $option) (i32.const 4)) (i32.const 0))
    (call $is (call $set_number (local.get $option) (i32.const 1)) (i32.const 0))
    (call $is (call $value (local.get $option) (i32.const 4)) (i32.const 1)))

  (func $cannot_be_set (param $option i32)
    (call $is (call $set_number (local.get $option) (i32.const 1)) (i32.const 50))) ;; NOPROTOOPT

  (func (export "_start")
    (global.set $socket (call $opened (i32.const 1)))
    (call $is (call $value (i32.const 1) (i32.const 4)) (i32.const 1)) ;; TYPE: datagrams
    (call $switch (i32.const 4)) ;; BROADCAST
    (global.set $socket (call $opened (i32.const 2)))
    (call $is (call $value (i32.const 1) (i32.const 4)) (i32.const 2)) ;; TYPE: a stream
    (call $is (call $value (i32.const 2) (i32.const 4)) (i32.const 0)) ;; ERROR
    (call $switch (i32.const 0)) ;; REUSEADDR
    (call $switch (i32.const 3)) ;; DONTROUTE
    (call $switch (i32.const 7)) ;; KEEPALIVE
    (call $switch (i32.const 8)) ;; OOBINLINE
    (call $cannot_be_set (i32.const 1))
    (call $cannot_be_set (i32.const 2))
    (call $cannot_be_set (i32.const 13))
    ;; SNDBUF and RCVBUF: at least what was asked for.
    (call $is (call $set_number (i32.const 5) (i32.const 65536)) (i32.const 0))
    (call $is (i32.ge_s (call $value (i32.const 5) (i32.const 4)) (i32.const 65536)) (i32.const 1))
    (call $is (call $set_number (i32.const 6) (i32.const 65536)) (i32.const 0))
    (call $is (i32.ge_s (call $value (i32.const 6) (i32.const 4)) (i32.const 65536)) (i32.const 1))
    ;; LINGER: on, 5 seconds.
    (i64.store (i32.const 128) (i64.const 0x500000001))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const 9) (i32.const 128) (i32.const 8)) (i32.const 0))
    (call $is (call $value (i32.const 9) (i32.const 8)) (i32.const 1))
    (call $is (i32.load (i32.const 132)) (i32.const 5))
    ;; RCVLOWAT.
    (call $is (call $set_number (i32.const 10) (i32.const 3)) (i32.const 0))
    (call $is (call $value (i32.const 10) (i32.const 4)) (i32.const 3))
    ;; SNDTIMEO: 2 seconds and 500,000 microseconds.
    (i64.store (i32.const 128) (i64.const 2))
    (i64.store (i32.const 136) (i64.const 500000))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const 12) (i32.const 128) (i32.const 16)) (i32.const 0))
    (call $is (call $value (i32.const 12) (i32.const 16)) (i32.const 2))
    (call $is (i32.load (i32.const 136)) (i32.const 500000))
    ;; BINDTODEVICE: none, then the loopback.
    (i32.store (i32.const 124) (i32.const 16))
    (call $is (call $get (global.get $socket) (i32.const 0) (i32.const 14) (i32.const 128) (i32.const 124)) (i32.const 0))
    (call $is (i32.load (i32.const 124)) (i32.const 0))
    (i32.store (i32.const 128) (i32.const 0x006f6c))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const 14) (i32.const 128) (i32.const 3)) (i32.const 0))
    (i32.store (i32.const 124) (i32.const 16))
    (call $is (call $get (global.get $socket) (i32.const 0) (i32.const 14) (i32.const 128) (i32.const 124)) (i32.const 0))
    (call $is (i32.load (i32.const 124)) (i32.const 3))
    (call $is (i32.load (i32.const 128)) (i32.const 0x006f6c))
    ;; ACCEPTCONN.
    (call $is (call $value (i32.const 13) (i32.const 4)) (i32.const 0))
    (call $is (call $bind (global.get $socket) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $listen (global.get $socket) (i32.const 1)) (i32.const 0))
    (call $is (call $value (i32.const 13) (i32.const 4)) (i32.const 1))
    ;; RCVTIMEO: 20 ms, after which there is nothing.
    (global.set $socket (call $opened (i32.const 1)))
    (call $is (call $bind (global.get $socket) (i32.const 0) (i32.const 0)) (i32.const 0))
    (i64.store (i32.const 128) (i64.const 0))
    (i64.store (i32.const 136) (i64.const 20000))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const 11) (i32.const 128) (i32.const 16)) (i32.const 0))
    (call $is (call $recv (global.get $socket) (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116)) (i32.const 6))
    ;; What is no option, no level, no room, no memory, no socket.
    (call $is (call $get (global.get $socket) (i32.const 0) (i32.const 15) (i32.const 128) (i32.const 124)) (i32.const 28))
    (call $is (call $get (global.get $socket) (i32.const 1) (i32.const 0) (i32.const 128) (i32.const 124)) (i32.const 28))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const -1) (i32.const 128) (i32.const 4)) (i32.const 28))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const 0) (i32.const 128) (i32.const 1)) (i32.const 28))
    (i32.store (i32.const 124) (i32.const 2))
    (call $is (call $get (global.get $socket) (i32.const 0) (i32.const 2) (i32.const 128) (i32.const 124)) (i32.const 28))
    (i32.store (i32.const 124) (i32.const -1))
    (call $is (call $get (global.get $socket) (i32.const 0) (i32.const 2) (i32.const 128) (i32.const 124)) (i32.const 21))
    (call $is (call $get (global.get $socket) (i32.const 0) (i32.const 2) (i32.const 128) (i32.const 65534)) (i32.const 21))
    (call $is (call $set (global.get $socket) (i32.const 0) (i32.const 0) (i32.const 65534) (i32.const 4)) (i32.const 21))
    (call $is (call $set (i32.const 2000000) (i32.const 0) (i32.const 0) (i32.const 128) (i32.const 4)) (i32.const 8))
    (call $is (call $set (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128) (i32.const 4)) (i32.const 57))))
