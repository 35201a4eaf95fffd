// SPDX-License-Identifier: Apache-2.0

// Kubernetes and etcd in one program: it acts as the component whose name it is called by.
//
// One program of 160 MB takes the place of six of 500 MB together, and all nodes of a lab share its pages in memory.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	_ "time/tzdata"
)

// components are filled by the init functions of the other files; each function ends the process.
var components = map[string]func(){}

func main() {
	name := filepath.Base(os.Args[0])
	act, known := components[name]
	if !known && len(os.Args) > 1 {
		name = os.Args[1]
		if act, known = components[name]; known {
			os.Args = os.Args[1:]
		}
	}
	if !known {
		names := make([]string, 0, len(components))
		for each := range components {
			names = append(names, each)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "%s: link me under one of these names, or give one first: %v\n", os.Args[0], names)
		os.Exit(2)
	}
	act()
}
