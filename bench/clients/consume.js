// nsqjs' Reader with JSON.parse. Its argument and its answer have the format of tally.py.
'use strict'

const {existsSync, readFileSync} = require('node:fs')
const {performance} = require('node:perf_hooks')
const {Reader} = require('nsqjs')

const FLUSH_MS = 200
const plan = JSON.parse(process.argv[2])
const late = []
let seen = 0
let started = 0
let startedCpu = null

const now = () => (performance.timeOrigin + performance.now()) * 1e6

const reader = new Reader(plan.topics[0], plan.channel, {
  nsqdTCPAddresses: [plan.address],
  maxInFlight: plan.max_in_flight,
})

// Not maxRSS: Linux includes the parent's memory in it.
function peakBytes() {
  const status = '/proc/self/status'
  if (!existsSync(status)) return process.resourceUsage().maxRSS * 1024
  return /VmHWM:\s+(\d+)/.exec(readFileSync(status, 'ascii'))[1] * 1024
}

function report() {
  const {user, system} = process.cpuUsage(startedCpu)
  console.log(
    JSON.stringify({
      seconds: (performance.now() - started) / 1e3,
      cpu_s: (user + system) / 1e6,
      max_rss_bytes: peakBytes(),
      late_ns: late,
    })
  )
  setTimeout(() => reader.close(), FLUSH_MS + plan.hold_ms)
}

reader.on('message', (message) => {
  const order = JSON.parse(message.body)
  if (plan.is_timed) late.push(now() - order.data.sent_ns)
  if (seen === 0) {
    started = performance.now()
    startedCpu = process.cpuUsage()
  }
  seen += 1
  if (seen === plan.count) report()
  if (plan.hold_ms) setTimeout(() => message.finish(), plan.hold_ms)
  else message.finish()
})
reader.on('error', (error) => {
  console.error(error)
  process.exit(1)
})
reader.connect()
