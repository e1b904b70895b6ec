;; A component: a command of WASI 0.2 that prints "Hello from a component", by hand what tools generate.
(component
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

  ;; The memory stands apart, since lowering the imports needs it before the program exists.
  (core module $memory_module
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $memory (instantiate $memory_module))
  (alias core export $memory "memory" (core memory $shared))
  (core func $get_stdout (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory $shared) (realloc (core func $memory "realloc"))))
  (core func $drop (canon resource.drop $output))

  (core module $program
    (import "host" "memory" (memory 1))
    (import "host" "get-stdout" (func $get_stdout (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (data (i32.const 64) "Hello from a component\0a")
    ;; 0: ok; 1: error.
    (func (export "run") (result i32)
      (local $stream i32)
      (local.set $stream (call $get_stdout))
      (call $write (local.get $stream) (i32.const 64) (i32.const 23) (i32.const 16))
      (call $drop (local.get $stream))
      (i32.load8_u (i32.const 16))))
  (core instance $instance (instantiate $program (with "host" (instance
    (export "memory" (memory $shared))
    (export "get-stdout" (func $get_stdout))
    (export "write" (func $write))
    (export "drop" (func $drop))))))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run_interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run_interface)))
