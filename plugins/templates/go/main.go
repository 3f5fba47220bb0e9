// How much of this host's memory is used.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"example.com/check/hostler"
)

// What stands under `with:`, in percent.
type limits struct {
	Warn     float64 `json:"warn"`
	Critical float64 `json:"critical"`
}

// The limits, or what is wrong with them.
func readLimits(config []byte) (limits, []hostler.ConfigError) {
	limits := limits{Warn: 80, Critical: 90}
	if err := json.Unmarshal(config, &limits); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return limits, []hostler.ConfigError{{Pointer: "/" + wrong.Field, Message: "is not a number"}}
		}
		return limits, []hostler.ConfigError{{Message: err.Error()}}
	}
	if limits.Warn > limits.Critical {
		message := "is above critical, so it would never be reached"
		return limits, []hostler.ConfigError{{Pointer: "/warn", Message: message}}
	}
	return limits, nil
}

type memoryCheck struct{}

// Called when a spec is applied and before each run; nothing returned means
// that the configuration can be worked with.
func (memoryCheck) Configure(config []byte) []hostler.ConfigError {
	_, problems := readLimits(config)
	return problems
}

// One run. An error means that the check itself broke, which is shown as
// unknown; what is wrong with the host is a report.
func (memoryCheck) Run() (hostler.Report, error) {
	limits, problems := readLimits(hostler.Config())
	if len(problems) > 0 {
		return hostler.Report{}, fmt.Errorf("%s %s", problems[0].Pointer, problems[0].Message)
	}
	memory, err := hostler.GetMemory()
	if err != nil {
		return hostler.Report{}, err
	}
	if memory.Total == 0 {
		return hostler.Report{}, errors.New("this host does not say how much memory it has")
	}

	used := (memory.Used*100 + memory.Total/2) / memory.Total
	status := hostler.OK
	if float64(used) >= limits.Critical {
		status = hostler.Critical
	} else if float64(used) >= limits.Warn {
		status = hostler.Warning
	}
	return hostler.Report{
		Status:  status,
		Summary: fmt.Sprintf("%d %% of memory used", used),
		Attrs:   []hostler.Attr{{Key: "used_percent", Value: strconv.FormatUint(used, 10)}},
	}, nil
}

func init() {
	hostler.Export(memoryCheck{})
}

func main() {}
