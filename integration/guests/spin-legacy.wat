;; A module for the interfaces of Spin's first SDKs, which answers requests and takes messages. The first letter of the
;; path says what is asked, what follows it and a further `/` is the argument:
;;
;;   /echo                  201, with the request's fields; the method's number, the target and the body, a line each
;;   /whole                 the body
;;   /config/KEY            the value of a variable
;;   /get/KEY, /set/KEY, /delete/KEY, /have/KEY, /keys     of the default store; a value is the body
;;   /out                   has the host fetch the address in the body, and gives its answer
;;   /redis/KEY             of the server that the body names: sets KEY to `kept`, and gets it
;;   /incr/KEY              the same server's: adds one, and gives the last digit
;;   /query                 what the statement in the body gives first, by SQLite, where it is a text
;;   /postgres, /mysql      what `SELECT 7` gives, from the server that the body names
;;   /print                 prints the body
;;   /trap, /wrong          ends in the middle; answers with what is no status
;;
;; What the host refuses becomes the status 550 + the case of its error, with its text where it has one.
(module
  (import "wasi-outbound-http" "request" (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "spin-config" "get-config" (func $get_config (param i32 i32 i32)))
  (import "key-value" "open" (func $kv_open (param i32 i32 i32)))
  (import "key-value" "get" (func $kv_get (param i32 i32 i32 i32)))
  (import "key-value" "set" (func $kv_set (param i32 i32 i32 i32 i32 i32)))
  (import "key-value" "delete" (func $kv_delete (param i32 i32 i32 i32)))
  (import "key-value" "exists" (func $kv_exists (param i32 i32 i32 i32)))
  (import "key-value" "get-keys" (func $kv_keys (param i32 i32)))
  (import "key-value" "close" (func $kv_close (param i32)))
  (import "outbound-redis" "set" (func $redis_set (param i32 i32 i32 i32 i32 i32 i32)))
  (import "outbound-redis" "get" (func $redis_get (param i32 i32 i32 i32 i32)))
  (import "outbound-redis" "incr" (func $redis_incr (param i32 i32 i32 i32 i32)))
  (import "outbound-pg" "query" (func $pg_query (param i32 i32 i32 i32 i32 i32 i32)))
  (import "outbound-mysql" "query" (func $mysql_query (param i32 i32 i32 i32 i32 i32 i32)))
  (import "sqlite" "open" (func $sqlite_open (param i32 i32 i32)))
  (import "sqlite" "execute" (func $sqlite_execute (param i32 i32 i32 i32 i32 i32)))
  (import "sqlite" "close" (func $sqlite_close (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))

  ;; 0: what the host gives; 64: what is given to it; 512: texts; 65536: the text that is put together; 131072: what is
  ;; allocated.
  (memory (export "memory") 3)
  (global $heap (mut i32) (i32.const 131072))
  (global $end (mut i32) (i32.const 65536))

  (data (i32.const 512) "default")
  (data (i32.const 520) "\n")
  (data (i32.const 528) "kept")
  (data (i32.const 536) "SELECT 7")
  (data (i32.const 544) "message")
  (data (i32.const 552) "yes")
  (data (i32.const 556) "no")

  (func (export "canonical_abi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
      (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.ne (i32.const -1) (memory.grow
        (i32.add (i32.div_u (local.get $new) (i32.const 65536)) (i32.const 1)))))
      unreachable)
    (memory.copy (local.get $at) (local.get $old) (local.get $size))
    (local.get $at))
  (func (export "canonical_abi_free") (param i32 i32 i32))

  (func $append (param $text i32) (param $length i32)
    (memory.copy (global.get $end) (local.get $text) (local.get $length))
    (global.set $end (i32.add (global.get $end) (local.get $length))))

  (func $append_line (param $text i32) (param $length i32)
    (call $append (local.get $text) (local.get $length))
    (call $append (i32.const 520) (i32.const 1)))

  ;; A number below 10.
  (func $append_digit (param $number i32)
    (i32.store8 (i32.const 128) (i32.add (i32.const 48) (local.get $number)))
    (call $append (i32.const 128) (i32.const 1)))

  ;; An answer: with what status, body and header fields.
  (func $reply (param $status i32) (param $body i32) (param $length i32) (param $headers i32) (param $count i32)
      (result i32)
    (i32.store (i32.const 64) (local.get $status))
    (i32.store (i32.const 68) (i32.ne (local.get $count) (i32.const 0)))
    (i32.store (i32.const 72) (local.get $headers))
    (i32.store (i32.const 76) (local.get $count))
    (i32.store (i32.const 80) (i32.const 1))
    (i32.store (i32.const 84) (local.get $body))
    (i32.store (i32.const 88) (local.get $length))
    (i32.const 64))

  (func $reply_with (param $body i32) (param $length i32) (result i32)
    (call $reply (i32.const 200) (local.get $body) (local.get $length) (i32.const 0) (i32.const 0)))

  ;; What was put together.
  (func $reply_with_text (result i32)
    (call $reply_with (i32.const 65536) (i32.sub (global.get $end) (i32.const 65536))))

  (func $failed (result i32) (i32.load8_u (i32.const 0)))

  ;; The error that the host has given, or the bytes.
  (func $reply_with_result (result i32)
    (if (result i32) (call $failed)
      (then (call $reply (i32.add (i32.const 550) (i32.load8_u (i32.const 4)))
        (i32.load (i32.const 8)) (i32.load (i32.const 12)) (i32.const 0) (i32.const 0)))
      (else (call $reply_with (i32.load (i32.const 4)) (i32.load (i32.const 8))))))

  ;; The same where nothing is given but that it went well.
  (func $reply_with_success (result i32)
    (if (result i32) (call $failed)
      (then (call $reply_with_result))
      (else (call $reply_with (i32.const 0) (i32.const 0)))))

  ;; The first value of the first row, where rows are at 12: a list of lists.
  (func $first_value (result i32)
    (i32.load (i32.load (i32.const 12))))

  ;; A result with one number of 32 bits, or of 64.
  (func $reply_with_number (result i32)
    (if (call $failed) (then (return (call $reply_with_result))))
    (call $append_digit (i32.load offset=8 (call $first_value)))
    (call $reply_with_text))

  (func $is (param $at i32) (param $letters i32) (result i32)
    (i32.eq (i32.load16_u offset=1 align=1 (local.get $at)) (local.get $letters)))

  (func (export "handle-http-request") (param $method i32) (param $uri i32) (param $uri_length i32)
      (param $headers i32) (param $headers_count i32) (param $params i32) (param $params_count i32)
      (param $has_body i32) (param $body i32) (param $body_length i32) (result i32)
    (local $arg i32) (local $length i32) (local $at i32) (local $store i32)
    ;; What follows the second `/`.
    (local.set $arg (i32.add (local.get $uri) (i32.const 1)))
    (local.set $length (i32.sub (local.get $uri_length) (i32.const 1)))
    (block $found
      (loop $next
        (br_if $found (i32.eqz (local.get $length)))
        (local.set $at (i32.load8_u (local.get $arg)))
        (local.set $arg (i32.add (local.get $arg) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br_if $next (i32.ne (local.get $at) (i32.const 47)))))

    ;; ec
    (if (call $is (local.get $uri) (i32.const 0x6365)) (then
      (call $append_digit (local.get $method))
      (call $append_line (i32.const 0) (i32.const 0))
      (call $append_line (local.get $uri) (local.get $uri_length))
      (call $append (local.get $body) (local.get $body_length))
      (drop (call $reply_with_text))
      (i32.store (i32.const 64) (i32.const 201))
      (i32.store (i32.const 68) (i32.const 1))
      (i32.store (i32.const 72) (local.get $headers))
      (i32.store (i32.const 76) (local.get $headers_count))
      (return (i32.const 64))))
    ;; wh
    (if (call $is (local.get $uri) (i32.const 0x6877)) (then
      (return (call $reply_with (local.get $body) (local.get $body_length)))))
    ;; co
    (if (call $is (local.get $uri) (i32.const 0x6f63)) (then
      (call $get_config (local.get $arg) (local.get $length) (i32.const 0))
      (return (call $reply_with_result))))
    ;; ou: GET, without fields, parameters and body.
    (if (call $is (local.get $uri) (i32.const 0x756f)) (then
      (call $fetch (i32.const 0) (local.get $body) (local.get $body_length) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
      (if (call $failed) (then (return (call $reply_with_result))))
      (return (call $reply (i32.load16_u (i32.const 4)) (i32.load (i32.const 24)) (i32.load (i32.const 28))
        (i32.load (i32.const 12)) (i32.load (i32.const 16))))))
    ;; re
    (if (call $is (local.get $uri) (i32.const 0x6572)) (then
      (call $redis_set (local.get $body) (local.get $body_length) (local.get $arg) (local.get $length)
        (i32.const 528) (i32.const 4) (i32.const 0))
      (if (call $failed) (then (return (call $reply (i32.const 551) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0)))))
      (call $redis_get (local.get $body) (local.get $body_length) (local.get $arg) (local.get $length) (i32.const 0))
      (return (call $reply_with_result))))
    ;; in
    (if (call $is (local.get $uri) (i32.const 0x6e69)) (then
      (call $redis_incr (local.get $body) (local.get $body_length) (local.get $arg) (local.get $length) (i32.const 0))
      (if (call $failed) (then (return (call $reply (i32.const 551) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0)))))
      (call $append_digit (i32.wrap_i64 (i64.rem_u (i64.load (i32.const 8)) (i64.const 10))))
      (return (call $reply_with_text))))
    ;; po
    (if (call $is (local.get $uri) (i32.const 0x6f70)) (then
      (call $pg_query (local.get $body) (local.get $body_length) (i32.const 536) (i32.const 8)
        (i32.const 0) (i32.const 0) (i32.const 0))
      (return (call $reply_with_number))))
    ;; my
    (if (call $is (local.get $uri) (i32.const 0x796d)) (then
      (call $mysql_query (local.get $body) (local.get $body_length) (i32.const 536) (i32.const 8)
        (i32.const 0) (i32.const 0) (i32.const 0))
      (return (call $reply_with_number))))
    ;; qu
    (if (call $is (local.get $uri) (i32.const 0x7571)) (then
      (call $sqlite_open (i32.const 512) (i32.const 7) (i32.const 0))
      (if (call $failed) (then (return (call $reply_with_result))))
      (local.set $store (i32.load (i32.const 4)))
      (call $sqlite_execute (local.get $store) (local.get $body) (local.get $body_length) (i32.const 0) (i32.const 0)
        (i32.const 0))
      (call $sqlite_close (local.get $store))
      (if (call $failed) (then (return (call $reply_with_result))))
      (if (i32.eqz (i32.load (i32.const 16))) (then (return (call $reply_with_text))))
      (if (i32.ne (i32.load8_u (call $first_value)) (i32.const 2)) (then unreachable))
      (return (call $reply_with (i32.load offset=8 (call $first_value)) (i32.load offset=12 (call $first_value))))))
    ;; pr
    (if (call $is (local.get $uri) (i32.const 0x7270)) (then
      (call $print (local.get $body) (local.get $body_length))
      (return (call $reply_with_text))))
    ;; tr
    (if (call $is (local.get $uri) (i32.const 0x7274)) (then unreachable))
    ;; wr
    (if (call $is (local.get $uri) (i32.const 0x7277)) (then
      (return (call $reply (i32.const 42) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))

    (call $kv_open (i32.const 512) (i32.const 7) (i32.const 0))
    (if (call $failed) (then (return (call $reply_with_result))))
    (local.set $store (i32.load (i32.const 4)))
    ;; ge
    (if (call $is (local.get $uri) (i32.const 0x6567)) (then
      (call $kv_get (local.get $store) (local.get $arg) (local.get $length) (i32.const 0))
      (call $kv_close (local.get $store))
      (return (call $reply_with_result))))
    ;; se
    (if (call $is (local.get $uri) (i32.const 0x6573)) (then
      (call $kv_set (local.get $store) (local.get $arg) (local.get $length) (local.get $body) (local.get $body_length)
        (i32.const 0))
      (return (call $reply_with_success))))
    ;; de
    (if (call $is (local.get $uri) (i32.const 0x6564)) (then
      (call $kv_delete (local.get $store) (local.get $arg) (local.get $length) (i32.const 0))
      (return (call $reply_with_success))))
    ;; ha
    (if (call $is (local.get $uri) (i32.const 0x6168)) (then
      (call $kv_exists (local.get $store) (local.get $arg) (local.get $length) (i32.const 0))
      (if (call $failed) (then (return (call $reply_with_result))))
      (if (i32.load8_u (i32.const 4))
        (then (return (call $reply_with (i32.const 552) (i32.const 3)))))
      (return (call $reply_with (i32.const 556) (i32.const 2)))))
    ;; ke
    (if (call $is (local.get $uri) (i32.const 0x656b)) (then
      (call $kv_keys (local.get $store) (i32.const 0))
      (if (call $failed) (then (return (call $reply_with_result))))
      (local.set $at (i32.load (i32.const 4)))
      (local.set $length (i32.load (i32.const 8)))
      (block $done
        (loop $each
          (br_if $done (i32.eqz (local.get $length)))
          (call $append_line (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (local.set $length (i32.sub (local.get $length) (i32.const 1)))
          (br $each)))
      (return (call $reply_with_text))))
    (call $reply (i32.const 404) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

  ;; As one piece: of several, an adapter may write the first alone.
  (func $print (param $text i32) (param $length i32)
    (call $append_line (local.get $text) (local.get $length))
    (i32.store (i32.const 160) (i32.const 65536))
    (i32.store (i32.const 164) (i32.sub (global.get $end) (i32.const 65536)))
    (global.set $end (i32.const 65536))
    (drop (call $fd_write (i32.const 1) (i32.const 160) (i32.const 1) (i32.const 168))))

  ;; Prints the message, and keeps it as the value of `message`. One that begins with `e` gives an error, one with `t`
  ;; traps.
  (func (export "handle-redis-message") (param $at i32) (param $length i32) (result i32)
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 116)) (then unreachable))
    (call $print (local.get $at) (local.get $length))
    (call $kv_open (i32.const 512) (i32.const 7) (i32.const 0))
    (if (i32.eqz (call $failed)) (then
      (call $kv_set (i32.load (i32.const 4)) (i32.const 544) (i32.const 7) (local.get $at) (local.get $length)
        (i32.const 0))))
    (i32.store8 (i32.const 64) (i32.or
      (call $failed)
      (i32.eq (i32.load8_u (local.get $at)) (i32.const 101))))
    (i32.store8 (i32.const 65) (i32.const 1))
    (i32.const 64)))
