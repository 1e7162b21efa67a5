// Package loop does one step again and again until standard input closes.
package loop

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"
)

// UntilTold calls step with 0, 1, 2 and so on. A step that fails is told on standard error and the next one is tried; the last
// line on standard output says which version of the module was used and how many steps there were.
func UntilTold(module string, step func(number int) error) {
	told := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(told)
	}()
	done, failed := 0, 0
	for {
		if err := step(done + failed); err == nil {
			done++
		} else {
			failed++
			fmt.Fprintf(os.Stderr, "%.300s\n", err.Error())
		}
		select {
		case <-told:
			json.NewEncoder(os.Stdout).Encode(map[string]any{"version": version(module), "done": done, "failed": failed})
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "unknown"
}
