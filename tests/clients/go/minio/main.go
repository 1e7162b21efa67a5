// minio-go: `sts` asks stint's STS door, which it has to be told of in code; `container` is what its environment says.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"

	"clients/loop"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func main() {
	endpoint, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL_S3"))
	if err != nil {
		panic(err)
	}
	door := ""
	if os.Args[1] == "sts" {
		door = os.Getenv("AWS_ENDPOINT_URL_STS")
	}
	client, err := minio.New(endpoint.Host, &minio.Options{Creds: credentials.NewIAM(door), Region: "us-east-1"})
	if err != nil {
		panic(err)
	}
	bucket := os.Getenv("BUCKET")
	loop.UntilTold("github.com/minio/minio-go/v7", func(number int) error {
		key, body := fmt.Sprintf("minio-go/%d", number%8), fmt.Append(nil, number)
		reader := bytes.NewReader(body)
		_, err := client.PutObject(context.Background(), bucket, key, reader, reader.Size(), minio.PutObjectOptions{})
		if err != nil {
			return err
		}
		object, err := client.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer object.Close()
		found, err := io.ReadAll(object)
		if err == nil && !bytes.Equal(found, body) {
			err = fmt.Errorf("%q instead of %q", found, body)
		}
		return err
	})
}
