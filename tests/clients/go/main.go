// Command play drives go-nsq's Consumer and Producer. The argument is a plan as JSON:
// tests/clients/scenarios.py.
package main

import (
	"encoding/json"
	"log"
	"os"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"
)

type plan struct {
	Address      string          `json:"address"`
	Topic        string          `json:"topic"`
	Channel      string          `json:"channel"`
	MsgTimeoutMs int64           `json:"msg_timeout_ms"`
	Publish      [][]string      `json:"publish"`
	DeferMs      int64           `json:"defer_ms"`
	Reactions    [][]interface{} `json:"reactions"`
	Finishes     int             `json:"finishes"`
}

type delivery struct {
	Body     string  `json:"body"`
	Attempts uint16  `json:"attempts"`
	SinceMs  float64 `json:"since_ms"`
}

type player struct {
	plan
	lock sync.Mutex // of what follows, of the output and of Finishes
	said time.Time
	kept []*nsq.Message
	done chan struct{}
}

func (p *player) says() {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.said = time.Now()
}

func (p *player) sees(message *nsq.Message) []interface{} {
	p.lock.Lock()
	defer p.lock.Unlock()
	since := float64(time.Since(p.said)) / float64(time.Millisecond)
	seen := delivery{string(message.Body), message.Attempts, since}
	must(json.NewEncoder(os.Stdout).Encode(seen))
	index := int(message.Attempts)
	if index > len(p.Reactions) {
		index = len(p.Reactions)
	}
	return p.Reactions[index-1]
}

func (p *player) HandleMessage(message *nsq.Message) error {
	message.DisableAutoResponse()
	reaction := p.sees(message)
	switch reaction[0] {
	case "requeue":
		p.says()
		message.RequeueWithoutBackoff(milliseconds(reaction[1]))
		return nil
	case "keep":
		p.lock.Lock()
		defer p.lock.Unlock()
		p.kept = append(p.kept, message)
		return nil
	case "touch":
		for times := reaction[2].(float64); times > 0; times-- {
			time.Sleep(milliseconds(reaction[1])) // the handler's work between two TOUCH
			message.Touch()
		}
		time.Sleep(milliseconds(reaction[1])) // the rest of its work
	}
	message.Finish()
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.Finishes--; p.Finishes == 0 {
		close(p.done)
	}
	return nil
}

func (p *player) publish(producer *nsq.Producer) {
	for _, bodies := range p.Publish {
		p.says()
		switch {
		case p.DeferMs > 0:
			after := time.Duration(p.DeferMs) * time.Millisecond
			must(producer.DeferredPublish(p.Topic, after, []byte(bodies[0])))
		case len(bodies) > 1:
			many := make([][]byte, len(bodies))
			for i, body := range bodies {
				many[i] = []byte(body)
			}
			must(producer.MultiPublish(p.Topic, many))
		default:
			must(producer.Publish(p.Topic, []byte(bodies[0])))
		}
	}
}

func milliseconds(value interface{}) time.Duration {
	return time.Duration(value.(float64)) * time.Millisecond
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	p := &player{done: make(chan struct{})}
	must(json.Unmarshal([]byte(os.Args[1]), &p.plan))
	config := nsq.NewConfig()
	config.MaxInFlight = 5
	config.MsgTimeout = time.Duration(p.MsgTimeoutMs) * time.Millisecond

	consumer, err := nsq.NewConsumer(p.Topic, p.Channel, config)
	must(err)
	consumer.SetLoggerLevel(nsq.LogLevelError)
	consumer.AddConcurrentHandlers(p, config.MaxInFlight)
	must(consumer.ConnectToNSQD(p.Address))
	producer, err := nsq.NewProducer(p.Address, config)
	must(err)
	producer.SetLoggerLevel(nsq.LogLevelError)

	p.publish(producer)
	<-p.done
	// Stop waits 30 s for what the consumer believes to hold; it knows nothing of timeouts. So these are
	// finished far too late, which nsqd refuses without closing the connection.
	for _, message := range p.kept {
		message.Finish()
	}
	consumer.Stop()
	<-consumer.StopChan
	producer.Stop()
}
