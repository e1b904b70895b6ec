;; Connections that are not waited for: leaves with the number of the step that did not give what it must, 1 and up, or
;; with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $local (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getpeeraddr" (func $peer (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getsockopt" (func $get_option (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: 127.0.0.1 (at 32) and a buffer of 16 bytes (at 48). A buffer: "ping" (at 72).
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\30\00\00\00\10\00\00\00" "\48\00\00\00\04\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (data (i32.const 72) "ping")
  ;; Results: type at 104, port at 108, length at 112, value at 116, descriptor at 120, count at 124. A subscription at
  ;; 256, and its event at 320.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $opened (param $flags i32) (result i32)
    (call $is (call $open (i32.const 1) (i32.const 2) (i32.const 120)) (i32.const 0))
    (call $is (call $set_flags (i32.load (i32.const 120)) (local.get $flags)) (i32.const 0))
    (i32.load (i32.const 120)))

  (func $port_of (param $socket i32) (result i32)
    (call $is (call $local (local.get $socket) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    (i32.load (i32.const 108)))

  ;; Waits until the socket can be written to, and gives SO_ERROR.
  (func $outcome (param $socket i32) (result i32)
    (memory.fill (i32.const 256) (i32.const 0) (i32.const 96))
    (i32.store8 (i32.const 264) (i32.const 2))
    (i32.store (i32.const 272) (local.get $socket))
    (call $is (call $poll (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 124)) (i32.const 0))
    (call $is (i32.load (i32.const 124)) (i32.const 1))
    (call $is (i32.load16_u (i32.const 328)) (i32.const 0))
    (call $is (i32.load8_u (i32.const 330)) (i32.const 2))
    (i32.store (i32.const 112) (i32.const 4))
    (call $is (call $get_option (local.get $socket) (i32.const 0) (i32.const 2) (i32.const 116) (i32.const 112)) (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 4))
    (i32.load (i32.const 116)))

  (func (export "_start")
    (local $listener i32) (local $client i32) (local $port i32)
    ;; 1 to 5: a listener.
    (local.set $listener (call $opened (i32.const 0)))
    (call $is (call $bind (local.get $listener) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $listen (local.get $listener) (i32.const 5)) (i32.const 0))
    (local.set $port (call $port_of (local.get $listener)))
    ;; 6 to 16: in progress, then there.
    (local.set $client (call $opened (i32.const 4)))
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 26)) ;; INPROGRESS
    (call $is (call $outcome (local.get $client)) (i32.const 0))
    (call $is (i32.load16_u (i32.const 344)) (i32.const 0)) ;; no HANGUP
    ;; 17 to 20: the peer is known. The first call after tells that it is there, the second that it was.
    (call $is (call $peer (local.get $client) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 108)) (local.get $port))
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 0))
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 30)) ;; ISCONN
    (call $is (call $send (local.get $client) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 0))
    ;; 22 and on: nobody listens any more.
    (call $is (call $close (local.get $listener)) (i32.const 0))
    (local.set $client (call $opened (i32.const 4)))
    (call $is (call $peer (local.get $client) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 53)) ;; NOTCONN
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 26))
    (call $is (call $outcome (local.get $client)) (i32.const 14)) ;; CONNREFUSED
    (call $is (i32.load16_u (i32.const 344)) (i32.const 1)) ;; HANGUP
    (call $is (call $outcome (local.get $client)) (i32.const 0)) ;; it is told once
    (call $is (call $peer (local.get $client) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 53))
    (local.set $client (call $opened (i32.const 0)))
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 14))))
