// SPDX-License-Identifier: Apache-2.0

// What the lab's pods run: the parts of Kubernetes' agnhost that speak on the network, without those that pull in a
// whole API server.
package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/kubernetes/test/images/agnhost/connect"
	"k8s.io/kubernetes/test/images/agnhost/netexec"
	"k8s.io/kubernetes/test/images/agnhost/pause"
	"k8s.io/kubernetes/test/images/agnhost/porter"
	servehostname "k8s.io/kubernetes/test/images/agnhost/serve-hostname"
	tcpreset "k8s.io/kubernetes/test/images/agnhost/tcp-reset"
)

func main() {
	root := &cobra.Command{Use: "agnhost", SilenceUsage: true}
	root.AddCommand(
		connect.CmdConnect, netexec.CmdNetexec, pause.CmdPause, porter.CmdPorter,
		servehostname.CmdServeHostname, tcpreset.CmdTCPReset,
	)
	if root.Execute() != nil {
		os.Exit(1)
	}
}
