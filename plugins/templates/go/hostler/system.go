package hostler

import "unsafe"

// Memory is in bytes.
type Memory struct {
	Total     uint64
	Available uint64
	Used      uint64
	SwapTotal uint64
	SwapUsed  uint64
}

//go:wasmimport hostler:host/system@1.0.0 get-memory
func getMemory(result unsafe.Pointer)

// GetMemory needs `grants.system`.
func GetMemory() (Memory, error) {
	// result<memory, error>: a byte that says which, and behind it, where the
	// widest field is aligned, the one or the other.
	var result struct {
		failed uint8
		memory Memory
	}
	getMemory(unsafe.Pointer(&result))
	if result.failed != 0 {
		return Memory{}, (*rawError)(unsafe.Pointer(&result.memory)).error()
	}
	return result.memory, nil
}
