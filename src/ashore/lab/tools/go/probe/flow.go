// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"time"
)

type flowReport struct {
	Target      string  `json:"target"`
	Sent        int     `json:"sent"`
	Answered    int     `json:"answered"`
	LongestHole float64 `json:"longest_hole_ms"`
	Error       string  `json:"error,omitempty"`
}

// flow keeps one connection per target busy and prints, per target, the
// longest time without an answer. The first line printed is {"started":true}
// once every target has answered.
func flow(args []string) {
	flags := flag.NewFlagSet("flow", flag.ExitOnError)
	every := flags.Duration("every", 20*time.Millisecond, "pause between questions")
	lasts := flags.Duration("for", time.Minute, "how long")
	_ = flags.Parse(args)
	end := make(chan struct{})
	go func() {
		select {
		case <-stopSignal():
		case <-time.After(*lasts):
		}
		close(end)
	}()
	reports := make([]flowReport, flags.NArg())
	var started, group sync.WaitGroup
	for i, target := range flags.Args() {
		started.Add(1)
		group.Add(1)
		go func() {
			defer group.Done()
			reports[i] = one(target, *every, end, sync.OnceFunc(started.Done))
		}()
	}
	started.Wait()
	fmt.Println(`{"started":true}`)
	group.Wait()
	out := json.NewEncoder(os.Stdout)
	for _, report := range reports {
		_ = out.Encode(report)
	}
}

func one(target string, every time.Duration, end <-chan struct{}, started func()) flowReport {
	report := flowReport{Target: target}
	defer started()
	u, err := url.Parse(target)
	if err != nil {
		report.Error = err.Error()
		return report
	}
	connection, err := net.DialTimeout(u.Scheme, u.Host, 5*time.Second)
	if err != nil {
		report.Error = err.Error()
		return report
	}
	defer connection.Close()
	answers := make(chan error, 64)
	go listen(connection, answers)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	hole := func() {
		report.LongestHole = max(report.LongestHole, milliseconds(time.Since(last)))
	}
	for {
		select {
		case err := <-answers:
			if err != nil {
				hole()
				report.Error = err.Error()
				return report
			}
			if report.Answered > 0 {
				hole()
			}
			report.Answered++
			last = time.Now()
			started()
		case <-ticker.C:
			report.Sent++
			// A UDP socket tells of an ICMP error once and goes on; TCP's end comes from the reader.
			_ = connection.SetWriteDeadline(time.Now().Add(every))
			_, _ = connection.Write(make([]byte, 32))
		case <-end:
			hole()
			return report
		}
	}
}

func listen(connection net.Conn, answers chan<- error) {
	buffer := make([]byte, 32)
	for {
		var err error
		if _, isTCP := connection.(*net.TCPConn); isTCP {
			_, err = io.ReadFull(connection, buffer)
			if err != nil {
				answers <- err
				return
			}
		} else if _, err = connection.Read(buffer); err != nil {
			if opError, ok := err.(*net.OpError); ok && opError.Op == "read" && !isClosed(err) {
				time.Sleep(time.Millisecond)
				continue
			}
			return
		}
		answers <- nil
	}
}

func isClosed(err error) bool {
	opError, ok := err.(*net.OpError)
	return ok && opError.Err == net.ErrClosed
}
