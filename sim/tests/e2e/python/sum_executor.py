"""Sums the numbers of each task it is given and reports them in a framework message.

usage: sum_executor.py [TASK_TO_THROW_IN]    started by the agent; speaks the executor API through pymesos
"""
import json
import logging
import sys
from threading import Thread

from pymesos import Executor, MesosExecutorDriver, decode_data, encode_data


class SumExecutor(Executor):
    def launchTask(self, driver, task):
        task_id = task['task_id']
        if sys.argv[1:] == [task_id['value']]:
            raise ValueError('asked to throw in ' + task_id['value'])
        Thread(target=self.work, args=(driver, task_id, task['data']), daemon=True).start()

    def work(self, driver, task_id, data):
        driver.sendStatusUpdate({'task_id': task_id, 'state': 'TASK_RUNNING'})
        total = sum(json.loads(decode_data(data)))
        answer = {'task_id': task_id['value'], 'sum': total}
        driver.sendFrameworkMessage(encode_data(json.dumps(answer).encode()))
        driver.sendStatusUpdate({'task_id': task_id, 'state': 'TASK_FINISHED'})


logging.basicConfig(level=logging.INFO)
MesosExecutorDriver(SumExecutor()).run()
