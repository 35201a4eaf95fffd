// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// answer is what a server says of itself and of who asked.
type answer struct {
	Nonce  []byte `json:"nonce"`
	Name   string `json:"name"`
	SeenAs string `json:"seen_as"`
}

const who = "who?"

// reply is what a server named name says to a question.
func reply(question []byte, name string, from net.Addr) []byte {
	if !bytes.HasPrefix(question, []byte(who)) {
		return question
	}
	host, _, _ := net.SplitHostPort(from.String())
	text, _ := json.Marshal(answer{Nonce: question, Name: name, SeenAs: host})
	return append(text, '\n')
}

func serve(port int, name string) {
	address := fmt.Sprintf(":%d", port)
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 65536)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				log.Fatal(err)
			}
			_, _ = packets.WriteTo(reply(buffer[:n], name, from), from)
		}
	}()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go func() {
				defer connection.Close()
				question := make([]byte, 65536)
				for {
					n, err := connection.Read(question)
					if err != nil {
						return
					}
					if _, err := connection.Write(reply(question[:n], name, connection.RemoteAddr())); err != nil {
						return
					}
				}
			}()
		}
	}()
	fmt.Printf("echoing on %s\n", address)
	<-stopSignal()
}

var serial atomic.Uint32

// once asks one target one question and gives the time until the right answer.
func once(target string, timeout time.Duration) (time.Duration, answer, error) {
	u, err := url.Parse(target)
	if err != nil {
		return 0, answer{}, err
	}
	question := make([]byte, 16)
	copy(question, who)
	binary.BigEndian.PutUint32(question[4:], uint32(os.Getpid())<<16|serial.Add(1)&0xffff)
	binary.BigEndian.PutUint64(question[8:], uint64(time.Now().UnixNano()))
	switch u.Scheme {
	case "tcp", "udp":
		return ask(u.Scheme, u.Host, question, timeout)
	case "icmp":
		took, err := ping(strings.Trim(u.Host, "[]"), question, timeout)
		return took, answer{}, err
	}
	return 0, answer{}, fmt.Errorf("unknown scheme in %s", target)
}

func ask(network, address string, question []byte, timeout time.Duration) (time.Duration, answer, error) {
	began := time.Now()
	connection, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return 0, answer{}, err
	}
	defer connection.Close()
	if network == "tcp" {
		began = time.Now() // the round trip of data; the handshake took one more
	}
	_ = connection.SetDeadline(time.Now().Add(timeout))
	if _, err := connection.Write(question); err != nil {
		return 0, answer{}, err
	}
	var found answer
	if err := json.NewDecoder(connection).Decode(&found); err != nil {
		return 0, answer{}, err
	}
	if !bytes.Equal(found.Nonce, question) {
		return 0, answer{}, errors.New("wrong answer")
	}
	return time.Since(began), found, nil
}

func ping(address string, question []byte, timeout time.Duration) (time.Duration, error) {
	ip := net.ParseIP(address)
	network, kind, reply := "ip4:icmp", byte(8), byte(0)
	if ip.To4() == nil {
		network, kind, reply = "ip6:ipv6-icmp", 128, 129
	}
	connection, err := net.Dial(network, address)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	message := append([]byte{kind, 0, 0, 0, question[2], question[3], question[6], question[7]}, question...)
	if kind == 8 { // the kernel sums ICMPv6 itself
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	began := time.Now()
	_ = connection.SetDeadline(began.Add(timeout))
	if _, err := connection.Write(message); err != nil {
		return 0, err
	}
	buffer := make([]byte, 2048)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return 0, err
		}
		answer := buffer[:n]
		if kind == 8 && n > 20 && answer[0]>>4 == 4 { // a raw IPv4 socket reads the header too
			answer = answer[int(answer[0]&15)*4:]
			n = len(answer)
		}
		if n > 8 && answer[0] == reply && bytes.Equal(answer[8:], question) {
			return time.Since(began), nil
		}
	}
}

func checksum(message []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
