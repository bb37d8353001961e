// BullMQ in step style on the chain workload: one job an execution, whose data says after each step how far it is, so that every step is durable.
// Environment: REDIS_URL, EXECUTIONS, WORKERS. Prints tasks a second and the workers' processor time, microseconds a task.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Queue, Worker } from 'bullmq';

const STEPS = 5;
const CONCURRENCY = 10;
const BATCH = 250;
const CARGO = 'x'.repeat(300);
const address = new URL(process.env.REDIS_URL);
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null };

if (process.argv[2] === 'worker') {
  await work();
} else {
  await measure();
}

async function work() {
  const began = process.cpuUsage();
  let ended = 0;
  const worker = new Worker(
    'chain',
    async (job) => {
      for (let step = job.data.step; step < STEPS; step += 1) {
        await job.updateData({ step: step + 1, cargo: CARGO });
      }
      ended += 1;
    },
    { connection, concurrency: CONCURRENCY },
  );
  await worker.waitUntilReady();
  process.on('disconnect', () => process.exit(0));
  process.send({ ready: true });
  // The one that measures counts; a message an execution would be measured too.
  let told = 0;
  setInterval(() => {
    if (ended !== told) {
      told = ended;
      const { user, system } = process.cpuUsage(began);
      process.send({ ended, cpu: user + system });
    }
  }, 5);
}

async function measure() {
  const executions = Number(process.env.EXECUTIONS);
  const workers = Array.from({ length: Number(process.env.WORKERS) }, () => fork(fileURLToPath(import.meta.url), ['worker']));
  workers.forEach((worker) =>
    worker.on('exit', () => {
      console.error('a worker is gone');
      process.exit(1);
    }),
  );
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const said = workers.map(() => ({ ended: 0, cpu: 0 }));
  const all = new Promise((resolve) => {
    workers.forEach((worker, n) => {
      worker.on('message', (message) => {
        said[n] = message;
        if (said.reduce((sum, { ended }) => sum + ended, 0) >= executions) resolve();
      });
    });
  });
  const queue = new Queue('chain', { connection });
  await queue.waitUntilReady();
  const began = process.hrtime.bigint();
  for (let from = 0; from < executions; from += BATCH) {
    const length = Math.min(BATCH, executions - from);
    await queue.addBulk(Array.from({ length }, () => ({ name: 'chain', data: { step: 0, cargo: CARGO } })));
  }
  await all;
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  const tasks = executions * STEPS;
  console.log(tasks / seconds, said.reduce((sum, { cpu }) => sum + cpu, 0) / tasks);
  process.exit(0);
}
