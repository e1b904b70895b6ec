;; Datagrams between two sockets of its own, with both versions of sock_recv_from: leaves with the number of the step
;; that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect_v2" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv_from" (func $recv_from_v1 (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv_from" (func $recv_from (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv_from_v2" (func $recv_from_v2 (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send_to" (func $send_to (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send_to_v2" (func $send_to_v2 (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $local (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $status (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: 127.0.0.1 (at 32); buffers of 16 (at 48), 128 (at 256) and 128 bytes (at 512, 127.0.0.1 as well).
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\30\00\00\00\10\00\00\00" "\00\01\00\00\80\00\00\00" "\00\02\00\00\80\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (data (i32.const 512) "\01\00\7f\00\00\01")
  ;; Buffers: "datagram" (at 96), 64 bytes (at 700), 3 bytes (at 700).
  (data (i32.const 64) "\60\00\00\00\08\00\00\00" "\bc\02\00\00\40\00\00\00" "\bc\02\00\00\03\00\00\00")
  (data (i32.const 96) "datagram")
  ;; Results: type at 104, port at 108, length at 112, flags at 116, descriptor at 120, status at 128.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $bound (result i32)
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 120)) (i32.const 0))
    (call $is (call $bind (i32.load (i32.const 120)) (i32.const 0) (i32.const 0)) (i32.const 0))
    (i32.load (i32.const 120)))

  (func $port_of (param $socket i32) (result i32)
    (call $is (call $local (local.get $socket) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    (i32.load (i32.const 108)))

  (func $sent_to (param $socket i32) (param $port i32)
    (call $is
      (call $send_to (local.get $socket) (i32.const 64) (i32.const 1) (i32.const 0) (local.get $port) (i32.const 0) (i32.const 112))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 8))
    ;; So that nothing of before is taken for a result.
    (memory.fill (i32.const 104) (i32.const 0) (i32.const 16))
    (memory.fill (i32.const 256) (i32.const 0xff) (i32.const 128)))

  (func (export "_start")
    (local $one i32) (local $other i32) (local $port i32) (local $own_port i32)
    ;; 1 to 8: two sockets, of datagrams.
    (local.set $one (call $bound))
    (local.set $other (call $bound))
    (local.set $own_port (call $port_of (local.get $one)))
    (local.set $port (call $port_of (local.get $other)))
    (call $is (call $status (local.get $one) (i32.const 128)) (i32.const 0))
    (call $is (i32.load8_u (i32.const 128)) (i32.const 5))
    ;; 9 to 13: V1 has no port.
    (call $sent_to (local.get $one) (local.get $port))
    (i32.store (i32.const 48) (i32.const 0))
    (call $is
      (call $recv_from_v1 (local.get $other) (i32.const 72) (i32.const 1) (i32.const 8) (i32.const 0) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 8))
    (call $is (i32.load (i32.const 48)) (i32.const 0x0100007f))
    ;; 14 to 21: V2 by its type, looked at and cut off: the port in the order of a number.
    (call $sent_to (local.get $one) (local.get $port))
    (call $is
      (call $recv_from (local.get $other) (i32.const 80) (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 108) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 3))
    (call $is (i32.load16_u (i32.const 116)) (i32.const 1)) ;; TRUNC
    (call $is (i32.load (i32.const 108)) (local.get $own_port))
    (call $is (i32.load16_u (i32.const 256)) (i32.const 1))
    (call $is (i32.load (i32.const 258)) (i32.const 0x0100007f))
    ;; 22 to 26: V2 by its name; the datagram was only looked at, so it is still there, whole.
    (call $is
      (call $recv_from_v2 (local.get $other) (i32.const 72) (i32.const 1) (i32.const 8) (i32.const 0) (i32.const 108) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 8))
    (call $is (i32.load16_u (i32.const 116)) (i32.const 0))
    (call $is (i32.load (i32.const 108)) (local.get $own_port))
    (call $is (i32.load (i32.const 700)) (i32.const 0x61746164))
    ;; 27 to 30: an address of 128 bytes to send to, and a buffer for one that is neither of the three.
    (call $is
      (call $send_to_v2 (local.get $other) (i32.const 64) (i32.const 1) (i32.const 24) (local.get $own_port) (i32.const 0) (i32.const 112))
      (i32.const 0))
    (i32.store (i32.const 20) (i32.const 100))
    (call $is
      (call $recv_from (local.get $one) (i32.const 72) (i32.const 1) (i32.const 16) (i32.const 0) (i32.const 108) (i32.const 112) (i32.const 116))
      (i32.const 28))
    (call $is
      (call $recv (local.get $one) (i32.const 72) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 8))
    ;; 31 to 37: a peer of its own, and none any more.
    (call $is (call $send (local.get $one) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 17)) ;; DESTADDRREQ
    (call $is (call $connect (local.get $one) (i32.const 24) (local.get $port)) (i32.const 0))
    (call $is (call $send (local.get $one) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 0))
    (call $is
      (call $recv (local.get $other) (i32.const 72) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (i32.store16 (i32.const 512) (i32.const 0))
    (call $is (call $connect (local.get $one) (i32.const 24) (i32.const 0)) (i32.const 0))
    (call $is (call $send (local.get $one) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 17))
    (call $is (call $send (local.get $one) (i32.const 64) (i32.const 1) (i32.const 1) (i32.const 112)) (i32.const 28)))) ;; no flags
