"""The parameters: reads their files, resolves them for one scale, and checks the sections that each stage declares."""

from flows.parameters.cluster import Cluster as Cluster
from flows.parameters.config import build_config as build_config
from flows.parameters.config import config_keys as config_keys
from flows.parameters.config import config_sections as config_sections
from flows.parameters.config import result_parameters as result_parameters
from flows.parameters.config import stage_modules as stage_modules
from flows.parameters.files import ParameterError as ParameterError
from flows.parameters.resolve import Parameters as Parameters
from flows.parameters.resolve import validate as validate
