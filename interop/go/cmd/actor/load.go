package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/hashicorp/yamux"
)

// echo sends everything back and ends when the asker does.
func echo(stream *yamux.Stream) {
	// An asker that has gone away needs no answer.
	_, _ = io.Copy(stream, stream)
	_ = stream.Close()
}

// ask opens one stream after the other, each with a question that must come
// back whole.
func (e *end) ask(count, size int) reply {
	question := make([]byte, size)
	answer := make([]byte, size)
	for number := range count {
		fill(question, uint32(number), e.isClient, 0)
		if err := e.askOnce(question, answer); err != nil {
			return reply{Saw: "other", Bytes: number, Text: err.Error()}
		}
	}
	return reply{Saw: "done", Bytes: count}
}

func (e *end) askOnce(question, answer []byte) error {
	stream, err := e.session.OpenStream()
	if err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := stream.Write(question)
		if err == nil {
			err = stream.Close()
		}
		wrote <- err
	}()
	if _, err := io.ReadFull(stream, answer); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	if err := <-wrote; err != nil {
		return fmt.Errorf("the question: %w", err)
	}
	if !bytes.Equal(question, answer) {
		return fmt.Errorf("the answer is not the question")
	}
	if n, err := stream.Read(make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("the answer goes on: %d bytes, %v", n, err)
	}
	return nil
}
