//go:build tools

// Package tools imports the programs to build, so that go.mod and go.sum contain all of their dependencies.
package tools

import (
	_ "github.com/nsqio/nsq/apps/nsqadmin"
	_ "github.com/nsqio/nsq/apps/nsqd"
	_ "github.com/nsqio/nsq/apps/nsqlookupd"
)
