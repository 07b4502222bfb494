// Command consume runs go-nsq's Consumer, which decodes with encoding/json into a struct. Its argument and its
// answer have the format of tally.py.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nsqio/go-nsq"
)

type plan struct {
	Address     string   `json:"address"`
	Topics      []string `json:"topics"`
	Channel     string   `json:"channel"`
	Count       int      `json:"count"`
	MaxInFlight int      `json:"max_in_flight"`
	HoldMs      int64    `json:"hold_ms"`
	IsTimed     bool     `json:"is_timed"`
	IsBare      bool     `json:"is_bare"`
	Variant     string   `json:"variant"`
}

type line struct {
	Product                  string `json:"product"`
	Quantity                 int    `json:"quantity"`
	AmountCents              int    `json:"amount_cents"`
	RetailDiscountCents      int    `json:"retail_discount_cents"`
	CouponDiscountCents      int    `json:"coupon_discount_cents"`
	CouponMatchDiscountCents int    `json:"coupon_match_discount_cents"`
}

type order struct {
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	Store      string `json:"store"`
	PlacedAt   string `json:"placed_at"`
	Lines      []line `json:"lines"`
	TotalCents int    `json:"total_cents"`
	SentNs     int64  `json:"sent_ns"`
}

type envelope struct {
	Specversion string `json:"specversion"`
	Type        string `json:"type"`
	Source      string `json:"source"`
	ID          string `json:"id"`
	Data        order  `json:"data"`
}

type answer struct {
	Seconds     float64 `json:"seconds"`
	CPUSeconds  float64 `json:"cpu_s"`
	MaxRSSBytes int64   `json:"max_rss_bytes"`
	LateNs      []int64 `json:"late_ns"`
}

type tally struct {
	plan
	lock       sync.Mutex // guards the fields below
	seen       int
	lateNs     []int64
	started    time.Time
	startedCPU float64
	done       chan struct{}
}

func (t *tally) HandleMessage(message *nsq.Message) error {
	var decoded envelope
	var target any = &decoded
	if t.IsBare {
		target = &decoded.Data
	}
	if err := json.Unmarshal(message.Body, target); err != nil {
		return err
	}
	t.count(time.Now().UnixNano() - decoded.Data.SentNs)
	if t.HoldMs > 0 {
		time.Sleep(time.Duration(t.HoldMs) * time.Millisecond)
	}
	return nil
}

func (t *tally) count(lateNs int64) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.seen == 0 {
		t.started, t.startedCPU = time.Now(), cpuSeconds()
	}
	if t.IsTimed {
		t.lateNs = append(t.lateNs, lateNs)
	}
	if t.seen++; t.seen == t.Count {
		must(json.NewEncoder(os.Stdout).Encode(answer{
			time.Since(t.started).Seconds(), cpuSeconds() - t.startedCPU, maxRSSBytes(), t.lateNs,
		}))
		close(t.done)
	}
}

func usage() syscall.Rusage {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return used
}

func cpuSeconds() float64 {
	used := usage()
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// Not Maxrss: Linux includes the parent's memory in it.
func maxRSSBytes() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return usage().Maxrss
	}
	var kib int64
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Sscan(strings.TrimPrefix(line, "VmHWM:"), &kib)
		}
	}
	return kib * 1024
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	t := &tally{done: make(chan struct{}), lateNs: []int64{}}
	must(json.Unmarshal([]byte(os.Args[1]), &t.plan))
	config := nsq.NewConfig()
	config.MaxInFlight = t.MaxInFlight
	consumer, err := nsq.NewConsumer(t.Topics[0], t.Channel, config)
	must(err)
	consumer.SetLoggerLevel(nsq.LogLevelError)
	if t.Variant == "concurrent" || t.HoldMs > 0 {
		consumer.AddConcurrentHandlers(t, t.MaxInFlight)
	} else {
		consumer.AddHandler(t) // as in its documentation
	}
	must(consumer.ConnectToNSQD(t.Address))
	<-t.done
	consumer.Stop()
	<-consumer.StopChan
}
