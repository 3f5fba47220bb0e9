package hostler

import (
	"time"
	"unsafe"
)

// What needs no grant. The time and randomness of Go's own packages come from
// the host as well; time.Sleep costs the run's processor time.

//go:wasmimport hostler:host/config@1.0.0 json
func configJSON(result unsafe.Pointer)

// Config is what stands under `with:`, a JSON object.
func Config() []byte {
	var result span
	configJSON(unsafe.Pointer(&result))
	return result.bytes()
}

//go:wasmimport hostler:host/clock@1.0.0 remaining
func remaining() uint64

// Remaining is how long this run may still take.
func Remaining() time.Duration {
	return time.Duration(remaining())
}

// Level is how much a line of the log matters.
type Level uint32

const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

//go:wasmimport hostler:host/log@1.0.0 write
func logWrite(level uint32, message unsafe.Pointer, messageLength uint32, fields unsafe.Pointer, fieldsLength uint32)

// Log writes a line to the agent's log, with fields beside it.
func Log(level Level, message string, fields ...Attr) {
	at, length := lend(message)
	before := returned
	list := giveAttrs(fields)
	logWrite(uint32(level), at, length, pointer(list.at), list.length)
	returned = before
}

// Kind is a gauge, which goes up and down, or a counter, which only rises.
type Kind uint8

const (
	Gauge Kind = iota
	Counter
)

// Sample is one value of a metric, named as Prometheus has it.
type Sample struct {
	Name  string
	Kind  Kind
	Attrs []Attr
	Value float64
}

//go:wasmimport hostler:host/metrics@1.0.0 report
func metricsReport(samples unsafe.Pointer, length uint32, result unsafe.Pointer)

// ReportMetrics reports all of the samples or none.
func ReportMetrics(samples ...Sample) error {
	type rawSample struct {
		name  span
		kind  uint32
		attrs span
		value float64
	}
	before := returned
	list := make([]rawSample, 0, len(samples))
	for _, sample := range samples {
		list = append(list, rawSample{giveText(sample.Name), uint32(sample.Kind), giveAttrs(sample.Attrs), sample.Value})
	}
	raw := giveList(list)
	var result struct {
		failed uint8
		err    rawError
	}
	metricsReport(pointer(raw.at), raw.length, unsafe.Pointer(&result))
	returned = before
	if result.failed != 0 {
		return result.err.error()
	}
	return nil
}
