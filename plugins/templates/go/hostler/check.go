package hostler

import (
	"fmt"
	"unsafe"
)

// Check is what a plugin of the world `check` does.
type Check interface {
	// Configure says what is wrong with the options, a JSON object. It may ask
	// the host for nothing but its log and clock.
	Configure(config []byte) []ConfigError
	// Run looks and reports. An error means that the check itself broke.
	Run() (Report, error)
}

// ConfigError is one wrong value; Pointer is its JSON pointer, such as /warn.
type ConfigError struct {
	Pointer string
	Message string
}

// Status is how the target is.
type Status uint8

const (
	OK Status = iota
	Warning
	Critical
	Unknown
)

// Attr is a key with its value.
type Attr struct {
	Key   string
	Value string
}

// Report is what a run found. Summary is one line, Details are as many as it
// takes.
type Report struct {
	Status  Status
	Summary string
	Details string
	Attrs   []Attr
}

var exported Check

// Export makes a check the plugin's. Call it from an init function: main does
// not run.
func Export(check Check) {
	exported = check
}

type rawAttr struct {
	key   span
	value span
}

func giveAttrs(attrs []Attr) span {
	list := make([]rawAttr, 0, len(attrs))
	for _, attr := range attrs {
		list = append(list, rawAttr{giveText(attr.Key), giveText(attr.Value)})
	}
	return giveList(list)
}

//go:wasmexport hostler:plugin/lifecycle@1.0.0#configure
func configure(at, length uint32) unsafe.Pointer {
	returned = nil
	type rawConfigError struct {
		pointer span
		message span
	}
	var result struct {
		wrong  uint8
		errors span
	}
	var list []rawConfigError
	for _, problem := range problems(span{at, length}.bytes()) {
		list = append(list, rawConfigError{giveText(problem.Pointer), giveText(problem.Message)})
	}
	if len(list) > 0 {
		result.wrong = 1
		result.errors = giveList(list)
	}
	return give(&result)
}

// A panic becomes an answer that can be read.
func problems(config []byte) (problems []ConfigError) {
	defer func() {
		if cause := recover(); cause != nil {
			problems = []ConfigError{{Message: fmt.Sprint("panic: ", cause)}}
		}
	}()
	if exported == nil {
		panic("call hostler.Export from an init function")
	}
	return exported.Configure(config)
}

//go:wasmexport hostler:plugin/check-api@1.0.0#run
func run() unsafe.Pointer {
	returned = nil
	report, err := look()
	if err != nil {
		return give(&struct {
			wrong   uint8
			message span
		}{1, giveText(err.Error())})
	}
	return give(&struct {
		wrong   uint8
		status  uint32
		summary span
		details span
		attrs   span
	}{0, uint32(report.Status), giveText(report.Summary), giveText(report.Details), giveAttrs(report.Attrs)})
}

func look() (report Report, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	if exported == nil {
		panic("call hostler.Export from an init function")
	}
	return exported.Run()
}
