;; What Python and JavaScript expect of a system (WASI 0.2), answered within the
;; plugin: lines to standard output and error are the run's log, time and
;; randomness are the host's, and there are no arguments, no environment, no
;; files and no network. Nothing of it reaches the host as WASI, so a plugin can
;; ask for nothing that its grants do not name.
;;
;; These are the fields of a module without its beginning and end. system.rs
;; writes those for one component and the version of WASI that it was built
;; against: the memory, from $heap_start on of which is free; `new ...` for each
;; resource; and the exports, which are the functions here that are called as
;; WASI calls them, and for any other one that answers an error, or ends the run
;; with words.
;;
;; A resource's number says which one it is where that matters: 1 is standard
;; output, 2 standard error. Nothing is to be freed, and nothing waits: whoever
;; wants to wait for a point in time has done so when that is handed out.
;;
;; Memory: what is answered at 16, how much of a line is there at 52 and 56, words
;; at 256, the two lines at 4096 and 8192.

(import "hostler:host/log@1.0.0" "write" (func $log (param $level i32) (param i32 i32) (param i32 i32)))
(import "hostler:host/clock@1.0.0" "now" (func $now (param i32)))
(import "hostler:host/clock@1.0.0" "monotonic" (func $monotonic (result i64)))
(import "hostler:host/random@1.0.0" "bytes" (func $bytes (param i32 i32)))

;; What callers and the host hand over lies here until the end of the call.
(global $heap (mut i32) (i32.const 0))
(func $free_all (global.set $heap (global.get $heap_start)))
(start $free_all)

(func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32) (local $missing i32)
  (local.set $at
    (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (local.set $missing
    (i32.sub (i32.shr_u (i32.add (global.get $heap) (i32.const 65535)) (i32.const 16)) (memory.size)))
  (if (i32.gt_s (local.get $missing) (i32.const 0))
    (then (if (i32.lt_s (memory.grow (local.get $missing)) (i32.const 0)) (then (unreachable)))))
  (memory.copy (local.get $at) (local.get $old) (local.get $old_size))
  (local.get $at))

;; --- Lines ---

;; The bytes of the character there; 0 if it is none. The log takes UTF-8 alone.
(func $character (param $at i32) (param $end i32) (result i32)
  (local $first i32) (local $length i32) (local $value i32) (local $index i32) (local $byte i32)
  (local.set $first (i32.load8_u (local.get $at)))
  (if (i32.lt_u (local.get $first) (i32.const 0x80)) (then (return (i32.const 1))))
  (local.set $length (i32.clz (i32.xor (i32.shl (local.get $first) (i32.const 24)) (i32.const -1))))
  (if (i32.gt_u (i32.sub (local.get $length) (i32.const 2)) (i32.const 2)) (then (return (i32.const 0))))
  (if (i32.gt_u (i32.add (local.get $at) (local.get $length)) (local.get $end)) (then (return (i32.const 0))))
  (local.set $value (i32.and (local.get $first) (i32.shr_u (i32.const 0x7f) (local.get $length))))
  (loop $next
    (local.set $index (i32.add (local.get $index) (i32.const 1)))
    (local.set $byte (i32.load8_u (i32.add (local.get $at) (local.get $index))))
    (if (i32.ne (i32.and (local.get $byte) (i32.const 0xc0)) (i32.const 0x80)) (then (return (i32.const 0))))
    (local.set $value
      (i32.or (i32.shl (local.get $value) (i32.const 6)) (i32.and (local.get $byte) (i32.const 0x3f))))
    (br_if $next (i32.lt_u (i32.add (local.get $index) (i32.const 1)) (local.get $length))))
  ;; Longer than need be: 2 bytes begin at 1 << 7, 3 at 1 << 11, 4 at 1 << 16.
  (if (i32.lt_u (local.get $value)
        (i32.shl (i32.const 1)
          (i32.add
            (i32.sub (i32.mul (local.get $length) (i32.const 5)) (i32.const 4))
            (i32.eq (local.get $length) (i32.const 2)))))
    (then (return (i32.const 0))))
  ;; Half of a pair, or beyond the last.
  (if (i32.eq (i32.shr_u (local.get $value) (i32.const 11)) (i32.const 0x1b)) (then (return (i32.const 0))))
  (if (i32.gt_u (local.get $value) (i32.const 0x10ffff)) (then (return (i32.const 0))))
  (local.get $length))

(func $line (param $stream i32) (result i32) (i32.shl (local.get $stream) (i32.const 12)))
(func $count (param $stream i32) (result i32) (i32.add (i32.const 48) (i32.shl (local.get $stream) (i32.const 2))))

;; What is there of the line, unless it is empty; `?` for what is no character.
(func $say (param $stream i32)
  (local $start i32) (local $at i32) (local $end i32) (local $length i32)
  (local.set $start (call $line (local.get $stream)))
  (local.set $at (local.get $start))
  (local.set $end (i32.add (local.get $start) (i32.load (call $count (local.get $stream)))))
  (if (i32.eq (local.get $start) (local.get $end)) (then (return)))
  (i32.store (call $count (local.get $stream)) (i32.const 0))
  (loop $next
    (local.set $length (call $character (local.get $at) (local.get $end)))
    (if (i32.eqz (local.get $length))
      (then
        (i32.store8 (local.get $at) (i32.const 0x3f))
        (local.set $length (i32.const 1))))
    (local.set $at (i32.add (local.get $at) (local.get $length)))
    (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
  ;; Level 2 is info, 3 is warn.
  (call $log
    (i32.add (local.get $stream) (i32.const 1))
    (local.get $start) (i32.sub (local.get $end) (local.get $start))
    (i32.const 0) (i32.const 0)))

(func $put (param $stream i32) (param $byte i32)
  (local $count i32)
  (if (i32.eq (local.get $byte) (i32.const 10)) (then (call $say (local.get $stream)) (return)))
  ;; A line of 1024 bytes, the most that the log takes, is full; it is cut where
  ;; a character begins.
  (local.set $count (i32.load (call $count (local.get $stream))))
  (if (i32.or
        (i32.eq (local.get $count) (i32.const 1024))
        (i32.and
          (i32.gt_u (local.get $count) (i32.const 1020))
          (i32.ne (i32.and (local.get $byte) (i32.const 0xc0)) (i32.const 0x80))))
    (then
      (call $say (local.get $stream))
      (local.set $count (i32.const 0))))
  (i32.store8 (i32.add (call $line (local.get $stream)) (local.get $count)) (local.get $byte))
  (i32.store (call $count (local.get $stream)) (i32.add (local.get $count) (i32.const 1))))

;; Ends the run, and the words say why.
(func $end (param $words i32) (param $length i32)
  (call $say (i32.const 1))
  (call $say (i32.const 2))
  ;; Level 4 is error.
  (call $log (i32.const 4) (local.get $words) (local.get $length) (i32.const 0) (i32.const 0))
  (unreachable))

;; --- Answers, at 16 ---

(func $nothing (result i32)
  (call $free_all)
  (i64.store (i32.const 16) (i64.const 0))
  (i64.store (i32.const 24) (i64.const 0))
  (i32.const 16))

(func $list (param $at i32) (param $count i32) (result i32)
  (i32.store (i32.const 16) (local.get $at))
  (i32.store (i32.const 20) (local.get $count))
  (i32.const 16))

;; An error: the case of it, that far behind the result's own.
(func $error (param $offset i32) (param $case i32) (result i32)
  (drop (call $nothing))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store8 (i32.add (i32.const 16) (local.get $offset)) (local.get $case))
  (i32.const 16))

;; --- wasi:cli ---

(func $"wasi:cli/environment#get-environment" (result i32) (call $nothing))
(func $"wasi:cli/environment#get-arguments" (result i32) (call $nothing))
(func $"wasi:cli/environment#initial-cwd" (result i32) (call $nothing))
(func $"wasi:cli/stdin#get-stdin" (result i32) (call $"new wasi:io/streams#input-stream" (i32.const 0)))
(func $"wasi:cli/stdout#get-stdout" (result i32) (call $"new wasi:io/streams#output-stream" (i32.const 1)))
(func $"wasi:cli/stderr#get-stderr" (result i32) (call $"new wasi:io/streams#output-stream" (i32.const 2)))
(func $"wasi:cli/terminal-stdin#get-terminal-stdin" (result i32) (call $nothing))
(func $"wasi:cli/terminal-stdout#get-terminal-stdout" (result i32) (call $nothing))
(func $"wasi:cli/terminal-stderr#get-terminal-stderr" (result i32) (call $nothing))

(data (i32.const 256) "the plugin asked to exit, and a run ends with its report")
(func $"wasi:cli/exit#exit" (param i32) (call $end (i32.const 256) (i32.const 56)))
(func $"wasi:cli/exit#exit-with-code" (param i32) (call $end (i32.const 256) (i32.const 56)))

;; --- wasi:io ---

(func $pollable (result i32) (call $"new wasi:io/poll#pollable" (i32.const 0)))
(func $"wasi:io/poll#[method]pollable.ready" (param i32) (result i32) (i32.const 1))
(func $"wasi:io/poll#[method]pollable.block" (param i32))
;; All of them are ready: their places in the list, written over the list.
(func $"wasi:io/poll#poll" (param $in i32) (param $count i32) (result i32)
  (local $index i32)
  (block $done
    (loop $next
      (br_if $done (i32.eq (local.get $index) (local.get $count)))
      (i32.store
        (i32.add (local.get $in) (i32.shl (local.get $index) (i32.const 2)))
        (local.get $index))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $next)))
  (call $free_all)
  (call $list (local.get $in) (local.get $count)))

(func $"wasi:io/streams#[method]output-stream.check-write" (param i32) (result i32)
  (drop (call $nothing))
  (i64.store (i32.const 24) (i64.const 65536))
  (i32.const 16))
(func $write (param $stream i32) (param $at i32) (param $length i32) (result i32)
  (local $end i32)
  (local.set $end (i32.add (local.get $at) (local.get $length)))
  (block $done
    (loop $next
      (br_if $done (i32.eq (local.get $at) (local.get $end)))
      (call $put (local.get $stream) (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
  (call $nothing))
(func $"wasi:io/streams#[method]output-stream.write" (param i32 i32 i32) (result i32)
  (call $write (local.get 0) (local.get 1) (local.get 2)))
(func $"wasi:io/streams#[method]output-stream.blocking-write-and-flush" (param i32 i32 i32) (result i32)
  (call $write (local.get 0) (local.get 1) (local.get 2)))
(func $"wasi:io/streams#[method]output-stream.flush" (param i32) (result i32) (call $nothing))
(func $"wasi:io/streams#[method]output-stream.blocking-flush" (param i32) (result i32) (call $nothing))
(func $"wasi:io/streams#[method]output-stream.subscribe" (param i32) (result i32) (call $pollable))
(func $"wasi:io/streams#[method]input-stream.subscribe" (param i32) (result i32) (call $pollable))

;; --- wasi:clocks ---

(func $"wasi:clocks/wall-clock#now" (result i32) (call $now (i32.const 16)) (i32.const 16))
(func $"wasi:clocks/wall-clock#resolution" (result i32)
  (drop (call $nothing))
  (i32.store (i32.const 24) (i32.const 1))
  (i32.const 16))
(func $"wasi:clocks/monotonic-clock#now" (result i64) (call $monotonic))
(func $"wasi:clocks/monotonic-clock#resolution" (result i64) (i64.const 1))
;; There is no sleeping here: it asks the time until it has come, within what
;; the run may take.
(func $"wasi:clocks/monotonic-clock#subscribe-instant" (param $when i64) (result i32)
  (loop $again (br_if $again (i64.lt_u (call $monotonic) (local.get $when))))
  (call $pollable))
(func $"wasi:clocks/monotonic-clock#subscribe-duration" (param $span i64) (result i32)
  (local $start i64)
  (local.set $start (call $monotonic))
  (loop $again (br_if $again (i64.lt_u (i64.sub (call $monotonic) (local.get $start)) (local.get $span))))
  (call $pollable))

;; --- wasi:random ---

;; The host gives up to 4096 bytes at once, each time behind the ones before.
(func $random (param $length i64) (result i32)
  (local $left i32) (local $given i32)
  (call $free_all)
  (local.set $left (i32.wrap_i64 (local.get $length)))
  (block $done
    (loop $more
      (br_if $done (i32.eqz (local.get $left)))
      (call $bytes
        (select (local.get $left) (i32.const 4096) (i32.lt_u (local.get $left) (i32.const 4096)))
        (i32.const 16))
      (local.set $given (i32.load (i32.const 20)))
      (if (i32.eqz (local.get $given)) (then (unreachable)))
      (local.set $left (i32.sub (local.get $left) (local.get $given)))
      (br $more)))
  (call $free_all)
  (global.get $heap_start))
(func $"wasi:random/random#get-random-bytes" (param $length i64) (result i32)
  (call $list (call $random (local.get $length)) (i32.wrap_i64 (local.get $length))))
(func $"wasi:random/random#get-random-u64" (result i64) (i64.load (call $random (i64.const 8))))
(func $"wasi:random/insecure#get-insecure-random-bytes" (param $length i64) (result i32)
  (call $list (call $random (local.get $length)) (i32.wrap_i64 (local.get $length))))
(func $"wasi:random/insecure#get-insecure-random-u64" (result i64) (i64.load (call $random (i64.const 8))))
(func $"wasi:random/insecure-seed#insecure-seed" (result i32) (call $random (i64.const 16)))

;; --- wasi:filesystem, wasi:sockets: none, and errors for all that is asked ---

(func $"wasi:filesystem/preopens#get-directories" (result i32) (call $nothing))
(func $"wasi:filesystem/types#filesystem-error-code" (param i32) (result i32) (call $nothing))
(func $"wasi:sockets/instance-network#instance-network" (result i32)
  (call $"new wasi:sockets/network#network" (i32.const 0)))
