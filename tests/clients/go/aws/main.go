// aws-sdk-go-v2 as an uploader of recordings uses it (LiveKit egress: the SDK's default chain and its upload manager): one client
// for as long as it runs, and segment after segment.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"clients/loop"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	settings, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := s3.NewFromConfig(settings, func(options *s3.Options) { options.UsePathStyle = true })
	uploader := manager.NewUploader(client)
	loop.UntilTold("github.com/aws/aws-sdk-go-v2", func(number int) error {
		_, err := uploader.Upload(context.Background(), &s3.PutObjectInput{
			Bucket: aws.String(os.Getenv("BUCKET")),
			Key:    aws.String(fmt.Sprintf("room/segment-%d.ts", number)),
			Body:   bytes.NewReader(make([]byte, 64<<10)),
		})
		return err
	})
}
