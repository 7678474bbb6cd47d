package plugin

import (
	"io"
	"net/http"
)

// get makes one plain request on a stream of its own.
func get(client *http.Client, path string) (int, string, error) {
	response, err := client.Get("http://unix" + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	return response.StatusCode, string(body), err
}
