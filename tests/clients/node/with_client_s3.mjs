// aws-sdk-js v3: one client for as long as it runs. Writes an object and reads it back, until standard input closes.
import { createRequire } from 'node:module'
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'

const { version } = createRequire(import.meta.url)('@aws-sdk/client-s3/package.json')
const s3 = new S3Client({ forcePathStyle: true })
const Bucket = process.env.BUCKET
let told = false
process.stdin.on('end', () => { told = true }).resume()

let done = 0
let failed = 0
while (!told) {
  const Key = `aws-sdk-js/${(done + failed) % 8}`
  const Body = String(done + failed)
  try {
    await s3.send(new PutObjectCommand({ Bucket, Key, Body }))
    const answer = await s3.send(new GetObjectCommand({ Bucket, Key }))
    if (await answer.Body.transformToString() !== Body) throw new Error('another body')
    done += 1
  } catch (error) {
    failed += 1
    console.error(`${error.name}: ${error.message}`.slice(0, 300))
  }
  await new Promise((resolve) => setTimeout(resolve, 200))
}
console.log(JSON.stringify({ version, done, failed }))
