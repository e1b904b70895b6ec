;; A component that is entered with messages from Redis: prints which message of this instance it is, and the message.
;; One that begins with `e` gives an error, one with `t` traps.
(component
  (import "fermyon:spin/redis-types" (instance $redis
    (type $cases (enum "success" "error"))
    (export "error" (type $error (eq $cases)))))
  (alias export $redis "error" (type $redis_error))
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error_type))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $output (sub resource)))
    (alias outer 1 $error_type (type $e))
    (export "error" (type $error (eq $e)))
    (type $failure (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream_error (eq $failure)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $output)) (param "contents" (list u8))
        (result (result (error $stream_error)))))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $o))
    (export "output-stream" (type $output (eq $o)))
    (export "get-stdout" (func (result (own $output))))))

  ;; The memory stands apart, since lowering the imports needs it before the program exists. A message is put after
  ;; what is printed before it.
  (core module $memory_module
    (memory (export "memory") 2)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1027)))
  (core instance $memory (instantiate $memory_module))
  (alias core export $memory "memory" (core memory $shared))
  (core func $get_stdout (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory $shared) (realloc (core func $memory "realloc"))))
  (core func $drop (canon resource.drop $output))

  (core module $program
    (import "host" "memory" (memory 2))
    (import "host" "get-stdout" (func $get_stdout (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (global $count (mut i32) (i32.const 0))
    (data (i32.const 1024) "0: ")
    ;; At 0: ok or error, and the error.
    (func (export "handle-message") (param $at i32) (param $length i32) (result i32)
      (local $stream i32)
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 116)) (then unreachable))
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (global.get $count)))
      (i32.store8 (i32.add (local.get $at) (local.get $length)) (i32.const 10))
      (local.set $stream (call $get_stdout))
      (call $write (local.get $stream) (i32.const 1024) (i32.add (local.get $length) (i32.const 4)) (i32.const 16))
      (call $drop (local.get $stream))
      (i32.store8 (i32.const 1) (i32.const 1))
      (i32.store8 (i32.const 0) (i32.eq (i32.load8_u (local.get $at)) (i32.const 101)))
      (i32.const 0)))
  (core instance $instance (instantiate $program (with "host" (instance
    (export "memory" (memory $shared))
    (export "get-stdout" (func $get_stdout))
    (export "write" (func $write))
    (export "drop" (func $drop))))))
  (func $handle (param "message" (list u8)) (result (result (error $redis_error)))
    (canon lift (core func $instance "handle-message") (memory $shared) (realloc (core func $memory "realloc"))))
  (instance $interface (export "handle-message" (func $handle)))
  (export "fermyon:spin/inbound-redis" (instance $interface)))
