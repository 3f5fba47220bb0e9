;; ends: HostCallTooLarge
;; A list that fills its memory, each attribute of which is its whole text.
(module
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x2000))
  (func (export "hostler:plugin/lifecycle@1.0.0#configure") (param i32 i32) (result i32) (i32.const 0x100))
  (func (export "cabi_post_hostler:plugin/lifecycle@1.0.0#configure") (param i32))
  (func (export "hostler:plugin/check-api@1.0.0#run") (result i32) (i32.const 0x200))
  (func (export "cabi_post_hostler:plugin/check-api@1.0.0#run") (param i32))
  (data (i32.const 0x200) "\00\00\00\00\00\00\00\00\00\03\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\10\00\00\00\10\00\00")
  (start $fill)
  (func $fill (local $n i32) (loop $l (i32.store offset=0x1000 (local.get $n) (i32.const 0x300)) (i32.store offset=0x1004 (local.get $n) (i32.const 0x10000)) (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 8))) (i32.const 0x10000)))))
)
