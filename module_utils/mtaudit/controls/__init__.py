"""Controls, an area each; `every` imports all of them, so that they are registered. Here nothing is: who wants one gets one."""
