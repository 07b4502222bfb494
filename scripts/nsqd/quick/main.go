// Command nsqd-quick is the pinned nsqd with one change to an option that has no flag: it scans for new
// channels every 100 ms, so that their timers fire soon. Tests of timers use it.
package main

import (
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nsqio/nsq/nsqd"
)

func main() {
	opts := nsqd.NewOptions()
	opts.QueueScanRefreshInterval = 100 * time.Millisecond
	flag.StringVar(&opts.TCPAddress, "tcp-address", opts.TCPAddress, "address of the TCP port")
	flag.StringVar(&opts.HTTPAddress, "http-address", opts.HTTPAddress, "address of the HTTP port")
	flag.StringVar(&opts.BroadcastAddress, "broadcast-address", opts.BroadcastAddress, "as in nsqd")
	flag.StringVar(&opts.DataPath, "data-path", opts.DataPath, "as in nsqd")
	flag.DurationVar(&opts.MaxMsgTimeout, "max-msg-timeout", opts.MaxMsgTimeout, "as in nsqd")
	flag.DurationVar(&opts.MaxReqTimeout, "max-req-timeout", opts.MaxReqTimeout, "as in nsqd")
	flag.Int64Var(&opts.MaxMsgSize, "max-msg-size", opts.MaxMsgSize, "as in nsqd")
	flag.Parse()

	daemon, err := nsqd.New(opts)
	if err != nil {
		log.Fatalf("nsqd-quick: %s", err)
	}
	if err := daemon.LoadMetadata(); err != nil {
		log.Fatalf("nsqd-quick: %s", err)
	}
	go func() {
		if err := daemon.Main(); err != nil {
			log.Fatalf("nsqd-quick: %s", err)
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	daemon.Exit()
}
