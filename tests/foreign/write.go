// Writes the bodies in go.jsonl, as programs in Go send them: go run write.go > go.jsonl
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unicode/utf16"
)

type untagged struct {
	OrderID    string
	TotalCents int64
	PlacedAt   time.Time
}

type tagged struct {
	OrderID    string    `json:"orderId"`
	TotalCents int64     `json:"totalCents"`
	PlacedAt   time.Time `json:"placedAt"`
	Note       *string   `json:"note,omitempty"`
	Tags       []string  `json:"tags"`
}

type quoted struct {
	OrderID    string `json:"orderId"`
	TotalCents int64  `json:"totalCents,string"`
	PlacedAt   int64  `json:"placedAt"`
}

type object map[string]any

var at = time.Date(2024, 5, 1, 12, 30, 0, 0, time.UTC)

func encoded(value any) []byte {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return body
}

func packed(body []byte) []byte {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	writer.Write(body)
	writer.Close()
	return buffer.Bytes()
}

func wide(text string) []byte {
	body := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		body = append(body, byte(unit), byte(unit>>8))
	}
	return body
}

func put(name, reader string, body []byte) {
	line := object{"name": name, "reader": reader, "base64": base64.StdEncoding.EncodeToString(body)}
	fmt.Println(string(encoded(line)))
}

func main() {
	order := tagged{"o-1", 700, at, nil, []string{}}
	note := "a <b> & ü 😀"
	event := func(data object) object {
		all := object{"specversion": "1.0", "type": "com.example.Order", "source": "/go", "id": "g-1"}
		for name, value := range data {
			all[name] = value
		}
		return all
	}
	put("field names", "pascal", encoded(untagged{"o-1", 700, at}))
	put("tags", "camel", encoded(order))
	put("omitempty and nil slice", "camel", encoded(tagged{"o-1", 700, at, nil, nil}))
	put("HTML escapes", "camel", encoded(tagged{"o-1", 700, at, &note, nil}))
	put("a zone", "camel", encoded(tagged{"o-1", 700, at.In(time.FixedZone("", 7200)), nil, nil}))
	put("nanoseconds", "camel", encoded(tagged{"o-1", 700, at.Add(123456789), nil, nil}))
	put("string option and Unix seconds", "lax", encoded(quoted{"o-1", 700, at.Unix()}))
	put("Unix milliseconds", "ms", encoded(object{"orderId": "o-1", "totalCents": 700, "placedAt": at.UnixMilli()}))
	put("largest int64", "camel", encoded(object{"orderId": "o-1", "totalCents": int64(math.MaxInt64), "placedAt": at}))
	put("a float for an integer", "camel", encoded(object{"orderId": "o-1", "totalCents": 700.5, "placedAt": at}))
	put("a large float", "camel", encoded(object{"orderId": "o-1", "totalCents": 1e21, "placedAt": at}))
	indented, _ := json.MarshalIndent(order, "", "\t")
	put("indented", "camel", indented)
	put("Encoder, with a newline", "camel", append(encoded(order), '\n'))
	put("unknown fields", "camel", encoded(object{"orderId": "o-1", "totalCents": 700, "placedAt": at, "more": object{"a": []int{1}}}))
	put("invalid UTF-8, replaced", "camel", encoded(object{"orderId": "o-\xff", "totalCents": 700, "placedAt": at}))
	put("gzip", "gzip", packed(encoded(order)))
	put("gzip without a codec", "camel", packed(encoded(order)))
	put("gzip cut off", "gzip", packed(encoded(order))[:20])
	put("CloudEvent", "event", encoded(event(object{"data": order})))
	put("CloudEvent in base64", "event", encoded(event(object{"data_base64": encoded(order), "datacontenttype": "application/json"})))
	put("CloudEvent in gzip", "gzip", packed(encoded(event(object{"data": order}))))
	put("CloudEvent of another type", "event", encoded(event(object{"type": "com.example.Other", "data": order})))
	put("batch", "event", encoded([]object{event(object{"data": order}), event(object{"data": order})}))
	put("tag", "tagged", encoded(object{"type": "paid", "orderId": "o-1"}))
	put("tag of another type", "tagged", encoded(object{"type": "shipped", "orderId": "o-1"}))
	put("no tag", "tagged", encoded(object{"orderId": "o-1"}))
	put("UTF-16", "camel", wide(string(encoded(order))))
}
