// kafkajs with all four codecs: `node client.js produce|consume BOOTSTRAP TOPIC COUNT [GROUP]`, see test_clients.py.
//
// Codecs are JavaScript and WebAssembly, so that no compiler is needed. Producing sends a quarter of the records with each
// codec; record i has the key `k<i>` and the value `v<i>`. Consuming prints one JSON line with what it saw.
'use strict'
const path = require('node:path')
const { createRequire } = require('node:module')
// The modules stand in a cache folder, beside the lock file that pins them.
const load = createRequire(path.join(process.env.LAKEWARD_NODE || __dirname, 'package.json'))
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = load('kafkajs')
const lz4 = load('lz4js')
const fzstd = load('fzstd')
const zstd = load('@bokuweb/zstd-wasm')

// lz4js marks its frames as having dependent blocks, which Kafka refuses. A frame of one block (below 4 MiB) has nothing to
// depend on, so its header may say so: flag byte 0x60, block size 0x70, and the checksum of these two.
function lz4Frame(bytes) {
  const frame = Buffer.from(lz4.compress(bytes))
  if (bytes.length > 4 << 20 || frame[4] !== 0x40 || frame[5] !== 0x70) throw new Error('unexpected LZ4 frame')
  frame[4] = 0x60
  frame[6] = 0x73
  return frame
}

CompressionCodecs[CompressionTypes.Snappy] = load('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4Frame(encoder.buffer),
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async (buffer) => Buffer.from(fzstd.decompress(buffer)),
})

async function produce(kafka, topic, count) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const codecs = [CompressionTypes.GZIP, CompressionTypes.Snappy, CompressionTypes.LZ4, CompressionTypes.ZSTD]
  for (let from = 0; from < count; from += 1000) {
    const messages = []
    for (let i = from; i < Math.min(from + 1000, count); i++) messages.push({ key: `k${i}`, value: `v${i}` })
    const compression = codecs[Math.floor((from * 4) / count)]
    await producer.send({ topic, messages, compression, acks: -1 })
  }
  await producer.disconnect()
}

async function consume(kafka, topic, count, groupId) {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const seen = new Set()
  let records = 0
  let wrong = 0
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
    consumer
      .run({
        eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, heartbeat }) => {
          for (const message of batch.messages) {
            const key = message.key.toString()
            records++
            if (message.value.toString() !== 'v' + key.slice(1)) wrong++
            seen.add(key)
            resolveOffset(message.offset)
          }
          await heartbeat()
          await commitOffsetsIfNecessary()
          if (records >= count) resolve()
        },
      })
      .catch(reject)
  })
  await consumer.disconnect()
  console.log(JSON.stringify({ records, distinct: seen.size, wrong }))
}

async function main() {
  const [command, bootstrap, topic, count, group] = process.argv.slice(2)
  await zstd.init()
  const kafka = new Kafka({ clientId: 'e2e', brokers: [bootstrap], logLevel: logLevel.ERROR })
  if (command === 'produce') await produce(kafka, topic, Number(count))
  else await consume(kafka, topic, Number(count), group)
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })
