import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.s3.S3Client;

/** aws-sdk-java v2: one client for as long as it runs. Writes an object and reads it back, until standard input closes. */
class WithAwsSdk {
    public static void main(String[] arguments) throws Exception {
        var told = new CountDownLatch(1);
        var listener = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
            told.countDown();
        });
        listener.setDaemon(true);
        listener.start();
        var bucket = System.getenv("BUCKET");
        int done = 0;
        int failed = 0;
        try (var s3 = S3Client.builder().forcePathStyle(true).build()) {
            do {
                var key = "aws-sdk-java/" + (done + failed) % 8;
                var body = Integer.toString(done + failed);
                try {
                    s3.putObject(put -> put.bucket(bucket).key(key), RequestBody.fromString(body));
                    var found = s3.getObjectAsBytes(get -> get.bucket(bucket).key(key));
                    if (!body.equals(found.asString(StandardCharsets.UTF_8))) {
                        throw new IllegalStateException("another body");
                    }
                    done++;
                } catch (RuntimeException error) {
                    failed++;
                    System.err.printf("%.300s%n", error);
                }
            } while (!told.await(200, TimeUnit.MILLISECONDS));
        }
        System.out.printf("{\"version\":\"%s\",\"done\":%d,\"failed\":%d}%n", VersionInfo.SDK_VERSION, done, failed);
    }
}
