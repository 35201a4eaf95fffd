// SPDX-License-Identifier: Apache-2.0

// Probe is the lab's own measuring instrument inside pods: an echo server,
// a client that tries targets once, and one that keeps a flow running and
// reports its longest hole.
//
//	probe serve -port 7000 -name web-1
//	probe check -timeout 1s tcp://10.244.1.3:7000 udp://[fd00::3]:7000 icmp://10.244.1.3
//	probe flow -every 20ms -for 30s tcp://… udp://…      (ends early on SIGTERM)
//
// The server echoes what it gets; asked "who?" it tells its name and whom it
// sees asking.
//
// check and flow print one JSON object a line; check exits 0 whether or not
// a target answered, so that "no answer" is told from "couldn't ask".
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

type verdict struct {
	Target string  `json:"target"`
	OK     bool    `json:"ok"`
	RTT    float64 `json:"rtt_ms"`
	Server string  `json:"server,omitempty"`
	SeenAs string  `json:"seen_as,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	switch os.Args[1] {
	case "serve":
		flags := flag.NewFlagSet("serve", flag.ExitOnError)
		port := flags.Int("port", 7000, "TCP and UDP port to echo on, both families")
		host, _ := os.Hostname()
		name := flags.String("name", host, "who to say that this is")
		_ = flags.Parse(os.Args[2:])
		serve(*port, *name)
	case "check":
		check(os.Args[2:])
	case "flow":
		flow(os.Args[2:])
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: probe serve|check|flow …")
	os.Exit(2)
}

// check tries each target up to -tries times, all targets at once, and
// reports the best round trip of the tries that answered after the first.
func check(args []string) {
	flags := flag.NewFlagSet("check", flag.ExitOnError)
	timeout := flags.Duration("timeout", time.Second, "longest wait for each answer")
	tries := flags.Int("tries", 3, "attempts; the first answer ends them")
	atOnce := flags.Int("at-once", 8, "targets tried at the same time")
	_ = flags.Parse(args)
	verdicts := make([]verdict, flags.NArg())
	slots := make(chan struct{}, *atOnce)
	var group sync.WaitGroup
	for i, target := range flags.Args() {
		group.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; group.Done() }()
			verdicts[i] = try(target, *timeout, *tries)
		}()
	}
	group.Wait()
	out := json.NewEncoder(os.Stdout)
	for _, v := range verdicts {
		_ = out.Encode(v)
	}
}

func try(target string, timeout time.Duration, tries int) verdict {
	v := verdict{Target: target}
	for range tries {
		rtt, found, err := once(target, timeout)
		if err != nil {
			v.Error = err.Error()
			continue
		}
		// A second question on a warm path gives the round trip; the first may have waited for a neighbour.
		if again, _, err := once(target, timeout); err == nil && again < rtt {
			rtt = again
		}
		v.OK, v.RTT, v.Error = true, milliseconds(rtt), ""
		v.Server, v.SeenAs = found.Name, found.SeenAs
		break
	}
	return v
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

func stopSignal() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c
}
