"""Sums a file of numbers on a cluster, as an unmodified pymesos framework: ten tasks under one custom executor.

usage: sum_scheduler.py MASTER NUMBERS_FILE EXECUTOR_SCRIPT [TASK_TO_THROW_IN]
Prints one JSON object when every task has ended: {"sum", "states": {task id: state}, "messages": {task id: text}}.
Exits 0 whatever the states are; 1 on an ERROR event; the caller's deadline ends it when it hangs.
"""
import json
import logging
import os
import sys
import threading

from pymesos import MesosSchedulerDriver, Scheduler, decode_data, encode_data

TASKS = 10
FINAL = {'TASK_FINISHED', 'TASK_FAILED', 'TASK_KILLED', 'TASK_LOST', 'TASK_ERROR', 'TASK_DROPPED', 'TASK_GONE'}


def scalar(name, value):
    return {'name': name, 'type': 'SCALAR', 'scalar': {'value': value}}


def amount(offer, name):
    return sum(r['scalar']['value'] for r in offer['resources'] if r['name'] == name)


class SumScheduler(Scheduler):
    def __init__(self, numbers, executor_command):
        self.waiting = {'sum-%d' % i: numbers[i::TASKS] for i in range(TASKS)}
        self.executor = {
            'executor_id': {'value': 'sum'},
            'name': 'sum',
            'command': {'value': executor_command},
            'resources': [scalar('cpus', 0.1), scalar('mem', 32)],
        }
        self.states, self.reasons, self.sums = {}, {}, {}
        self.error_message = None
        self.done = threading.Event()

    def resourceOffers(self, driver, offers):
        for offer in offers:
            tasks, cpus, mem = [], amount(offer, 'cpus') - 0.1, amount(offer, 'mem') - 32
            while self.waiting and cpus >= 0.1 and mem >= 16:
                task_id, share = self.waiting.popitem()
                cpus, mem = cpus - 0.1, mem - 16
                tasks.append({
                    'task_id': {'value': task_id},
                    'agent_id': offer['agent_id'],
                    'name': task_id,
                    'executor': self.executor,
                    'data': encode_data(json.dumps(share).encode()),
                    'resources': [scalar('cpus', 0.1), scalar('mem', 16)],
                })
            driver.launchTasks(offer['id'], tasks, {'refuse_seconds': 1})

    def statusUpdate(self, driver, status):
        task_id = status['task_id']['value']
        self.states[task_id] = status['state']
        if status.get('message'):
            self.reasons[task_id] = status['message']
        self.finish()

    def frameworkMessage(self, driver, executor_id, agent_id, message):
        answer = json.loads(decode_data(message))
        self.sums[answer['task_id']] = answer['sum']
        self.finish()

    def error(self, driver, message):
        self.error_message = message
        self.done.set()

    def finish(self):
        ended = [state for state in self.states.values() if state in FINAL]
        heard = all(task in self.sums for task, state in self.states.items() if state == 'TASK_FINISHED')
        if len(ended) == TASKS and heard:
            self.done.set()

    def processHeartBeat(self, driver):
        pass


def main():
    logging.basicConfig(level=logging.INFO)
    master, numbers_file, executor_script, *throw_in = sys.argv[1:]
    with open(numbers_file) as file:
        numbers = [int(line) for line in file]
    scheduler = SumScheduler(numbers, ' '.join([sys.executable, executor_script] + throw_in))
    driver = MesosSchedulerDriver(scheduler, {'user': 'root', 'name': 'sum', 'hostname': 'localhost'}, master)
    driver.start()
    scheduler.done.wait()
    # The driver acknowledges an update after its callback returns; leaving the lock to it once lets the last one out.
    driver.stop()
    driver.join()
    if scheduler.error_message:
        sys.exit('ERROR event: ' + scheduler.error_message)
    print(json.dumps({'sum': sum(scheduler.sums.values()), 'states': scheduler.states, 'messages': scheduler.reasons}))
    sys.stdout.flush()
    os._exit(0)


main()
