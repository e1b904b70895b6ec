;; Takes 1 MiB at a time, by turns for each of three memories and a table, until there is no more: leaves with the
;; number of MiB that it got, or with 255 where that is as many.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (memory $second 0)
  (memory $third 0)
  (table $table 0 funcref)
  (func $grow (param $turn i32) (result i32)
    (if (i32.eq (local.get $turn) (i32.const 0)) (then (return (memory.grow (i32.const 16)))))
    (if (i32.eq (local.get $turn) (i32.const 1)) (then (return (memory.grow $second (i32.const 16)))))
    (if (i32.eq (local.get $turn) (i32.const 2)) (then (return (memory.grow $third (i32.const 16)))))
    (table.grow $table (ref.null func) (i32.const 131072)))
  (func (export "_start")
    (local $got i32)
    (block $refused
      (loop $next
        (br_if $refused (i32.eq (local.get $got) (i32.const 255)))
        (br_if $refused
          (i32.eq (i32.const -1) (call $grow (i32.and (local.get $got) (i32.const 3)))))
        (local.set $got (i32.add (local.get $got) (i32.const 1)))
        (br $next)))
    (call $proc_exit (local.get $got))))
