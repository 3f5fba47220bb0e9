// Package hostler is a plugin's side of hostler:plugin@1.0.0, written by hand:
// how values cross between Go and the host, and the calls a check needs most.
// Another call of the interface is a wasmimport of its own and a function like
// those in system.go.
//
// It builds for GOOS=wasip1 GOARCH=wasm alone.
package hostler

import (
	"errors"
	"strings"
	"unsafe"
)

// Memory that the host refers to. Go's collector does not see those references,
// so what is handed over is held here: what the host wrote until it is read,
// what an export returned until the next call.
var (
	received = map[uint32][]uint64{}
	returned []any
)

// The host asks for memory here before it writes a string or a list. Whole
// words, so that any alignment is right.
//
//go:wasmexport cabi_realloc
func reallocate(old, oldSize, align, size uint32) uint32 {
	words := make([]uint64, (max(size, 1)+7)/8)
	address := uint32(uintptr(unsafe.Pointer(&words[0])))
	if previous, ok := received[old]; ok && oldSize > 0 {
		copy(words, previous)
		delete(received, old)
	}
	received[address] = words
	return address
}

// A string or list as it lies in memory: address and number of elements.
type span struct {
	at     uint32
	length uint32
}

func pointer(at uint32) unsafe.Pointer {
	return unsafe.Pointer(uintptr(at))
}

func (s span) bytes() []byte {
	if s.length == 0 {
		return nil
	}
	bytes := make([]byte, s.length)
	copy(bytes, unsafe.Slice((*byte)(pointer(s.at)), s.length))
	delete(received, s.at)
	return bytes
}

func (s span) text() string {
	return string(s.bytes())
}

// What an export returns: kept until the next call.
func giveText(text string) span {
	// The host refuses a string that is not UTF-8.
	return giveList([]byte(strings.ToValidUTF8(text, "\uFFFD")))
}

func giveList[T any](list []T) span {
	if len(list) == 0 {
		return span{at: 8}
	}
	returned = append(returned, list)
	return span{uint32(uintptr(unsafe.Pointer(&list[0]))), uint32(len(list))}
}

func give[T any](value *T) unsafe.Pointer {
	returned = append(returned, value)
	return unsafe.Pointer(value)
}

// What a call takes: address and length of bytes that outlive the call.
func lend(text string) (unsafe.Pointer, uint32) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))
}

// The variant types.error. What its words are lies behind its tag.
type rawError struct {
	tag    uint8
	first  span
	second span
}

// As a person reads it: `denied: grants.system`.
func (e *rawError) error() error {
	words := [...]string{"denied", "invalid", "timeout", "unreachable", "limit", "other"}
	word := "other"
	if int(e.tag) < len(words) {
		word = words[e.tag]
	}
	switch word {
	case "timeout":
		return errors.New(word)
	case "other":
		key := e.first.text()
		return errors.New(key + ": " + e.second.text())
	default:
		return errors.New(word + ": " + e.first.text())
	}
}
