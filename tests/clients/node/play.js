// nsqjs' Reader and Writer. The argument is a plan as JSON: tests/clients/scenarios.py.
'use strict'

const {performance} = require('node:perf_hooks')
const {promisify} = require('node:util')
const {setTimeout: sleep} = require('node:timers/promises')
const {Reader, Writer} = require('nsqjs')

const plan = JSON.parse(process.argv[2])
const [host, port] = plan.address.split(':')
let toFinish = plan.finishes
let said = 0

const fail = (error) => {
  console.error(error)
  process.exit(1)
}

const reader = new Reader(plan.topic, plan.channel, {
  nsqdTCPAddresses: [plan.address],
  maxInFlight: 5,
  messageTimeout: plan.msg_timeout_ms,
})
const writer = new Writer(host, Number(port))
const publish = promisify(writer.publish.bind(writer))
const deferPublish = promisify(writer.deferPublish.bind(writer))

async function answer(message) {
  const {attempts} = message
  const body = message.body.toString()
  console.log(JSON.stringify({body, attempts, since_ms: performance.now() - said}))
  const reaction = plan.reactions[Math.min(attempts, plan.reactions.length) - 1]
  const [kind, ms, times] = reaction
  if (kind === 'keep') return
  if (kind === 'requeue') {
    said = performance.now()
    message.requeue(ms, false)
    return
  }
  if (kind === 'touch') {
    for (let touched = 0; touched < times; touched++) {
      await sleep(ms) // the handler's work between two TOUCH
      message.touch()
    }
    await sleep(ms) // the rest of its work
  }
  message.on('respond', () => {
    toFinish -= 1
    if (toFinish === 0) setImmediate(() => reader.close() && writer.close())
  })
  message.finish()
}

reader.on('message', (message) => answer(message).catch(fail))
reader.on('error', fail)
writer.on('error', fail)
writer.on('ready', async () => {
  try {
    for (const bodies of plan.publish) {
      said = performance.now()
      // 0.13.0 documents a message here and takes only a list of one.
      if (plan.defer_ms) await deferPublish(plan.topic, bodies, plan.defer_ms)
      else await publish(plan.topic, bodies)
    }
  } catch (error) {
    fail(error)
  }
})
reader.connect()
reader.once('ready', () => writer.connect())
