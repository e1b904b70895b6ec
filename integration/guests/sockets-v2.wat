;; WasmEdge's socket functions as they became (V2): by the names with _v2, and by plain names whose types are V2's, one
;; of which is imported as V1 as well. Over TCP, with addresses of 128 bytes: leaves with the number of the step that
;; did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open_v2" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind_v2" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen_v2" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect_v2" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept_v2" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv_v2" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send_v2" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr_v2" (func $local (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getpeeraddr_v2" (func $peer (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $plain_accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $old_accept (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $plain_local (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getpeeraddr" (func $plain_peer (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $status (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: of 128 bytes at 256 and at 512; of 4 bytes at 32; of 16 bytes at 256.
  (data (i32.const 0) "\00\01\00\00\80\00\00\00" "\00\02\00\00\80\00\00\00" "\20\00\00\00\04\00\00\00")
  (data (i32.const 24) "\00\01\00\00\10\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (data (i32.const 256) "\01\00\7f\00\00\01")
  ;; Buffers: "ping" (at 64), 64 bytes (at 700).
  (data (i32.const 40) "\40\00\00\00\04\00\00\00" "\bc\02\00\00\40\00\00\00")
  (data (i32.const 64) "ping")
  ;; Results: port at 108, length at 112, flags at 116, descriptor at 120, status at 128.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $opened (result i32)
    (call $is (call $open (i32.const 1) (i32.const 2) (i32.const 120)) (i32.const 0))
    (i32.load (i32.const 120)))

  ;; A client of its own, which waits to be accepted.
  (func $connected (param $port i32) (result i32)
    (local $client i32)
    (local.set $client (call $opened))
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 0))
    (local.get $client))

  (func $flags_of (param $socket i32) (result i32)
    (call $is (call $status (local.get $socket) (i32.const 128)) (i32.const 0))
    (i32.load16_u (i32.const 130)))

  (func (export "_start")
    (local $listener i32) (local $client i32) (local $server i32) (local $port i32)
    ;; 1 to 7: a listener; its address is family and bytes, and what was in the buffer is gone.
    (local.set $listener (call $opened))
    (call $is (call $bind (local.get $listener) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $listen (local.get $listener) (i32.const 9)) (i32.const 0))
    (memory.fill (i32.const 512) (i32.const 7) (i32.const 128))
    (call $is (call $local (local.get $listener) (i32.const 8) (i32.const 108)) (i32.const 0))
    (local.set $port (i32.load (i32.const 108)))
    (call $is (i32.load16_u (i32.const 512)) (i32.const 1))
    (call $is (i32.load (i32.const 514)) (i32.const 0x0100007f))
    (call $is (i32.load8_u (i32.const 639)) (i32.const 0))
    ;; 8 to 13: the same by plain names; their buffers must be of 128 bytes.
    (call $is (call $plain_local (local.get $listener) (i32.const 8) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 108)) (local.get $port))
    (call $is (call $plain_local (local.get $listener) (i32.const 24) (i32.const 108)) (i32.const 28))
    (call $is (call $plain_peer (local.get $listener) (i32.const 16) (i32.const 108)) (i32.const 28))
    (call $is (call $plain_peer (local.get $listener) (i32.const 8) (i32.const 108)) (i32.const 53))
    (call $is (call $accept (local.get $listener) (i32.const 8) (i32.const 120)) (i32.const 28)) ;; no such flag
    ;; 14 to 25: accepted three ways, waiting or not.
    (local.set $client (call $connected (local.get $port)))
    (call $is (call $accept (local.get $listener) (i32.const 4) (i32.const 120)) (i32.const 0))
    (local.set $server (i32.load (i32.const 120)))
    (call $is (call $flags_of (local.get $server)) (i32.const 4))
    (drop (call $connected (local.get $port)))
    (call $is (call $plain_accept (local.get $listener) (i32.const 0) (i32.const 120)) (i32.const 0))
    (call $is (call $flags_of (i32.load (i32.const 120))) (i32.const 0))
    (drop (call $connected (local.get $port)))
    (call $is (call $old_accept (local.get $listener) (i32.const 120)) (i32.const 0))
    ;; 26 to 34: bytes, and the peer.
    (call $is (call $recv (local.get $server) (i32.const 48) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116)) (i32.const 6))
    (call $is (call $send (local.get $client) (i32.const 40) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 0))
    (call $is (call $recv (local.get $server) (i32.const 48) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116)) (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 4))
    (call $is (i32.load (i32.const 700)) (i32.const 0x676e6970))
    (call $is (call $peer (local.get $client) (i32.const 8) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 108)) (local.get $port))
    (call $is (call $plain_peer (local.get $client) (i32.const 8) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 108)) (local.get $port))
    ;; 35 to 38: addresses of 4 bytes do as well; families that are none do not.
    (call $is (call $connect (call $opened) (i32.const 16) (local.get $port)) (i32.const 0))
    (i32.store8 (i32.const 256) (i32.const 9))
    (call $is (call $connect (call $opened) (i32.const 0) (local.get $port)) (i32.const 28))))
